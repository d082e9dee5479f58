//! Which sources the kernel can map: devices and raw images that have the beginning of their volume.

use fve::error::{Error, Remedy};
use fve::shown::ShowPath;
use fve::source::is_nbd_address;

use crate::cli::failure::Failure;
use crate::cli::options::source::{Opened, SourceArgs, not_opened};

/// Refuses what is no device and no raw image: the kernel reads neither containers nor NBD servers.
pub(crate) fn check_source(args: &SourceArgs) -> Result<(), Failure> {
    let path = &args.source;
    if args.rescue_map.is_some() {
        return Err(Failure::usage(
            "the kernel does not know rescue maps: leave out --rescue-map, or use 'fve mount --volume'",
        ));
    }
    let what = if is_nbd_address(path) {
        "an NBD server".to_owned()
    } else if let (_, Some(container)) =
        fve::source::open(path).map_err(|error| not_opened(error, path))?
    {
        format!("a disk image of the kind {container}")
    } else {
        return Ok(());
    };
    let what = format!("{} is {what}, which the kernel cannot map", path.shown());
    Err(Error::unsupported(what).with_remedy(Remedy::NoFiles).into())
}

/// Where the volume begins in the source, in bytes.
pub(crate) fn start_of(opened: &Opened) -> Result<u64, Failure> {
    u64::try_from(opened.offset).map_err(|_| {
        Error::unsupported(
            "the source lacks the beginning of the volume, and the kernel cannot map the rest",
        )
        .into()
    })
}
