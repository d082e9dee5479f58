//! libtss2, loaded when a TPM is first used: a program that is built with the feature `tpm` also starts
//! where the library is not installed.
//!
//! `tss-esapi` links the functions of libtss2 by name. This file defines the functions that this crate
//! needs under the same names, and each passes its arguments on to the function in the shared library. The
//! linker then finds them here and adds no dependency on the library to the program (`dist/build.sh` checks
//! that). `tss-esapi` has no option for this. Two others were tried: linking with `-z lazy` still
//! lists the library as needed, and a second program for the TPM alone means one more file to install and to trust.
#![allow(unsafe_code)]
// The names are those of the TSS 2.0 Enhanced System API specification (TCG).
#![allow(non_snake_case)]

use std::sync::OnceLock;

use libloading::Library;
use tss_esapi::tss2_esys::*;

/// TSS2_ESYS_RC_NOT_IMPLEMENTED: a function of libtss2 was called although the library is not loaded.
const NOT_LOADED: TSS2_RC = 0x0007_0002;

/// A library that cannot be loaded, with the reason.
#[derive(Debug, Clone)]
pub(super) struct Missing {
    /// The name of its file.
    pub(super) library: &'static str,
    /// What the dynamic linker said.
    pub(super) why: String,
}

static LOADED: OnceLock<Result<Functions, Missing>> = OnceLock::new();

/// Loads libtss2, unless it is loaded.
///
/// # Errors
/// [`Missing`], now and at each later call.
pub(super) fn load() -> Result<(), Missing> {
    match LOADED.get_or_init(Functions::load) {
        Ok(_) => Ok(()),
        Err(missing) => Err(missing.clone()),
    }
}

fn functions() -> Option<&'static Functions> {
    LOADED.get()?.as_ref().ok()
}

/// Defines `Functions`, the table of the functions in the shared libraries, and a function with each name
/// that calls the one in the table. After `or`: what it returns if the library is not loaded.
macro_rules! late_bound {
    ($($file:literal { $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $returned:ty)? $(, or $otherwise:expr)?;)* })*) => {
        struct Functions {
            $($($name: unsafe extern "C" fn($($type),*) $(-> $returned)?,)*)*
        }

        impl Functions {
            fn load() -> Result<Self, Missing> {
                $(
                    let missing = |error: libloading::Error| Missing {
                        library: $file,
                        why: error.to_string(),
                    };
                    // SAFETY: the constructors of libtss2 only prepare its own log.
                    let library = unsafe { Library::new($file) }.map_err(missing)?;
                    $(
                        // SAFETY: the type is that of tss-esapi's declaration of the function, as the
                        // constant below makes sure.
                        let $name = *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }
                            .map_err(missing)?;
                    )*
                    // The functions are used until the program ends.
                    std::mem::forget(library);
                )*
                Ok(Self { $($($name,)*)* })
            }
        }

        $($(
            const _: unsafe extern "C" fn($($type),*) $(-> $returned)? = tss_esapi::tss2_esys::$name;

            // SAFETY: no other function of this program has the name: the declaration in tss-esapi is
            // resolved to this one.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) $(-> $returned)? {
                match functions() {
                    // SAFETY: the caller keeps the function's own contract.
                    Some(functions) => unsafe { (functions.$name)($($argument),*) },
                    None => { $($otherwise)? }
                }
            }
        )*)*
    };
}

late_bound! {
    "libtss2-tctildr.so.0" {
        fn Tss2_TctiLdr_Initialize(name: *const std::ffi::c_char, context: *mut *mut TSS2_TCTI_CONTEXT) -> TSS2_RC, or NOT_LOADED;
        fn Tss2_TctiLdr_Finalize(context: *mut *mut TSS2_TCTI_CONTEXT);
    }
    "libtss2-mu.so.0" {
        fn Tss2_MU_TPMT_PUBLIC_Marshal(src: *const TPMT_PUBLIC, buffer: *mut u8, size: size_t, offset: *mut size_t) -> TSS2_RC, or NOT_LOADED;
        fn Tss2_MU_TPMT_PUBLIC_Unmarshal(buffer: *const u8, size: size_t, offset: *mut size_t, dest: *mut TPMT_PUBLIC) -> TSS2_RC, or NOT_LOADED;
    }
    "libtss2-esys.so.0" {
        fn Esys_Initialize(context: *mut *mut ESYS_CONTEXT, tcti: *mut TSS2_TCTI_CONTEXT, version: *mut TSS2_ABI_VERSION) -> TSS2_RC, or NOT_LOADED;
        fn Esys_Finalize(context: *mut *mut ESYS_CONTEXT);
        fn Esys_GetCapability(context: *mut ESYS_CONTEXT, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, capability: TPM2_CAP, property: UINT32, count: UINT32, more: *mut TPMI_YES_NO, data: *mut *mut TPMS_CAPABILITY_DATA) -> TSS2_RC, or NOT_LOADED;
        fn Esys_StartAuthSession(context: *mut ESYS_CONTEXT, key: ESYS_TR, bind: ESYS_TR, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, nonce: *const TPM2B_NONCE, kind: TPM2_SE, symmetric: *const TPMT_SYM_DEF, hash: TPMI_ALG_HASH, handle: *mut ESYS_TR) -> TSS2_RC, or NOT_LOADED;
        fn Esys_TRSess_SetAttributes(context: *mut ESYS_CONTEXT, session: ESYS_TR, flags: TPMA_SESSION, mask: TPMA_SESSION) -> TSS2_RC, or NOT_LOADED;
        fn Esys_FlushContext(context: *mut ESYS_CONTEXT, handle: ESYS_TR) -> TSS2_RC, or NOT_LOADED;
        fn Esys_TR_Close(context: *mut ESYS_CONTEXT, handle: *mut ESYS_TR) -> TSS2_RC, or NOT_LOADED;
        fn Esys_TR_FromTPMPublic(context: *mut ESYS_CONTEXT, tpm_handle: TPM2_HANDLE, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, object: *mut ESYS_TR) -> TSS2_RC, or NOT_LOADED;
        fn Esys_TR_GetName(context: *mut ESYS_CONTEXT, handle: ESYS_TR, name: *mut *mut TPM2B_NAME) -> TSS2_RC, or NOT_LOADED;
        fn Esys_TR_SetAuth(context: *mut ESYS_CONTEXT, handle: ESYS_TR, value: *const TPM2B_AUTH) -> TSS2_RC, or NOT_LOADED;
        fn Esys_PCR_Read(context: *mut ESYS_CONTEXT, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, wanted: *const TPML_PCR_SELECTION, counter: *mut UINT32, read: *mut *mut TPML_PCR_SELECTION, values: *mut *mut TPML_DIGEST) -> TSS2_RC, or NOT_LOADED;
        fn Esys_PolicyPCR(context: *mut ESYS_CONTEXT, policy: ESYS_TR, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, digest: *const TPM2B_DIGEST, pcrs: *const TPML_PCR_SELECTION) -> TSS2_RC, or NOT_LOADED;
        fn Esys_PolicyAuthValue(context: *mut ESYS_CONTEXT, policy: ESYS_TR, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR) -> TSS2_RC, or NOT_LOADED;
        fn Esys_CreatePrimary(context: *mut ESYS_CONTEXT, hierarchy: ESYS_TR, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, sensitive: *const TPM2B_SENSITIVE_CREATE, template: *const TPM2B_PUBLIC, outside: *const TPM2B_DATA, pcrs: *const TPML_PCR_SELECTION, handle: *mut ESYS_TR, public: *mut *mut TPM2B_PUBLIC, data: *mut *mut TPM2B_CREATION_DATA, hash: *mut *mut TPM2B_DIGEST, ticket: *mut *mut TPMT_TK_CREATION) -> TSS2_RC, or NOT_LOADED;
        fn Esys_Create(context: *mut ESYS_CONTEXT, parent: ESYS_TR, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, sensitive: *const TPM2B_SENSITIVE_CREATE, template: *const TPM2B_PUBLIC, outside: *const TPM2B_DATA, pcrs: *const TPML_PCR_SELECTION, private: *mut *mut TPM2B_PRIVATE, public: *mut *mut TPM2B_PUBLIC, data: *mut *mut TPM2B_CREATION_DATA, hash: *mut *mut TPM2B_DIGEST, ticket: *mut *mut TPMT_TK_CREATION) -> TSS2_RC, or NOT_LOADED;
        fn Esys_Load(context: *mut ESYS_CONTEXT, parent: ESYS_TR, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, private: *const TPM2B_PRIVATE, public: *const TPM2B_PUBLIC, handle: *mut ESYS_TR) -> TSS2_RC, or NOT_LOADED;
        fn Esys_Unseal(context: *mut ESYS_CONTEXT, item: ESYS_TR, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, data: *mut *mut TPM2B_SENSITIVE_DATA) -> TSS2_RC, or NOT_LOADED;
        fn Esys_EvictControl(context: *mut ESYS_CONTEXT, auth: ESYS_TR, object: ESYS_TR, session1: ESYS_TR, session2: ESYS_TR, session3: ESYS_TR, persistent: TPMI_DH_PERSISTENT, handle: *mut ESYS_TR) -> TSS2_RC, or NOT_LOADED;
    }
}
