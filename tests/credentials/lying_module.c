/*
 * A PKCS#11 module that passes every call on to SoftHSM, except for one function: the environment
 * variable LIE names the lie. LIE_MODULE is the path of SoftHSM's library. Each call of C_Login adds
 * a byte to the file LIE_LOGINS.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef unsigned long ULONG;
typedef ULONG RV;

enum {
    OK = 0,
    CANCEL = 1,
    DEVICE_ERROR = 0x30,
    DEVICE_REMOVED = 0x32,
    FUNCTION_CANCELED = 0x50,
    PIN_INCORRECT = 0xA0,
    PIN_EXPIRED = 0xA3,
    PIN_LOCKED = 0xA4,
    BUFFER_TOO_SMALL = 0x150,
};

enum { PROTECTED_PATH = 0x100, FINAL_TRY = 0x20000, LOCKED = 0x40000 };

typedef struct {
    ULONG type;
    void *value;
    ULONG len;
} Attribute;

typedef struct {
    unsigned char label[32], manufacturer[32], model[16], serial[16];
    ULONG flags;
} TokenInfo; /* more fields follow */

/* CK_FUNCTION_LIST of PKCS#11 2.40. */
typedef struct {
    unsigned char version[2];
    RV (*initialize)(void *);
    RV (*finalize)(void *);
    void *get_info, *get_function_list;
    RV (*get_slot_list)(unsigned char, ULONG *, ULONG *);
    void *get_slot_info;
    RV (*get_token_info)(ULONG, TokenInfo *);
    void *between_1[5];
    RV (*open_session)(ULONG, ULONG, void *, void *, ULONG *);
    void *between_2[5];
    RV (*login)(ULONG, ULONG, unsigned char *, ULONG);
    void *between_3[5];
    RV (*get_attribute_value)(ULONG, ULONG, Attribute *, ULONG);
    void *between_4[2];
    RV (*find_objects)(ULONG, ULONG *, ULONG, ULONG *);
    void *between_5[6];
    RV (*decrypt)(ULONG, unsigned char *, ULONG, unsigned char *, ULONG *);
    void *rest[33];
} Functions;

static Functions *honest;
static Functions lying;
static const char *lie = "";

static int is(const char *name) {
    return strcmp(lie, name) == 0;
}

/* A length that the lie `FUNCTION-LENGTH` names; 0 for another lie. */
static ULONG length(const char *function) {
    size_t len = strlen(function);
    if (strncmp(lie, function, len) != 0 || lie[len] != '-') return 0;
    const char *name = lie + len + 1;
    if (strcmp(name, "2^62") == 0) return 1UL << 62;
    if (strcmp(name, "16g") == 0) return 16UL << 30;
    if (strcmp(name, "max") == 0) return ~0UL;
    if (strcmp(name, "almost") == 0) return ~0UL - 1;
    return 0;
}

static void hang(void) {
    for (;;) pause();
}

static void crash(void) {
    *(volatile int *)8 = 1;
}

/* Uses memory until there is none. */
static void allocate(void) {
    for (;;) {
        size_t size = 64UL << 20;
        char *memory = malloc(size);
        if (memory == NULL) abort();
        for (size_t i = 0; i < size; i += 4096) memory[i] = 1;
    }
}

static RV initialize(void *arguments) {
    if (is("init-hang")) hang();
    if (is("init-exit")) exit(0);
    if (is("init-crash")) crash();
    if (is("init-abort")) abort();
    if (is("init-allocate")) allocate();
    if (is("init-spin")) for (volatile int i = 0;;) i++;
    if (is("init-deaf")) {
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        hang();
    }
    if (is("init-noise")) {
        for (int i = 0; i < 100000; i++) {
            puts("a module that prints on standard output");
            fputs("and on standard error\n", stderr);
        }
        fflush(stdout);
    }
    if (is("init-input")) while (getchar() != EOF) {}
    if (is("init-close")) for (int fd = 0; fd < 64; fd++) close(fd);
    if (is("init-answer")) {
        char junk[4096];
        memset(junk, 0x41, sizeof junk);
        for (int fd = 0; fd < 64; fd++) {
            fcntl(fd, F_SETFL, O_NONBLOCK);
            if (write(fd, junk, sizeof junk) < 0) continue;
        }
    }
    if (is("init-fork") && fork() == 0) {
        /* Holds every open descriptor after its parent has ended. */
        sleep(30);
        _exit(0);
    }
    return honest->initialize(arguments);
}

static RV finalize(void *reserved) {
    if (is("finalize-hang")) hang();
    if (is("finalize-crash")) crash();
    return honest->finalize(reserved);
}

static RV get_slot_list(unsigned char present, ULONG *slots, ULONG *count) {
    if (slots == NULL && length("slots")) {
        *count = length("slots");
        return OK;
    }
    if (slots != NULL && is("slots-too-small")) return BUFFER_TOO_SMALL;
    RV rv = honest->get_slot_list(present, slots, count);
    if (slots != NULL && is("slots-more")) *count += 1000;
    return rv;
}

static RV get_token_info(ULONG slot, TokenInfo *info) {
    if (is("info-hang")) hang();
    RV rv = honest->get_token_info(slot, info);
    if (is("label-control"))
        memcpy(info->label, "a\033]0;b\007\033[2J\nfve: error: c       ", 32);
    if (is("label-bytes")) memset(info->label, 0xFF, 32);
    if (strncmp(lie, "pinpad", 6) == 0) info->flags |= PROTECTED_PATH;
    if (is("final-try")) info->flags |= FINAL_TRY;
    if (is("locked")) info->flags |= LOCKED;
    return rv;
}

static RV login(ULONG session, ULONG user, unsigned char *pin, ULONG len) {
    const char *path = getenv("LIE_LOGINS");
    int log = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (log >= 0) {
        if (write(log, ".", 1) != 1) abort();
        close(log);
    }
    if (is("login-hang") || is("pinpad-hang")) hang();
    if (is("login-crash")) crash();
    if (is("login-incorrect")) return PIN_INCORRECT;
    if (is("login-expired")) return PIN_EXPIRED;
    if (is("login-locked")) return PIN_LOCKED;
    if (is("login-removed")) return DEVICE_REMOVED;
    if (is("login-vendor")) return 0x80000001UL;
    if (is("login-unknown")) return 0x7654UL;
    if (is("pinpad-canceled")) return FUNCTION_CANCELED;
    if (is("pinpad-cancel")) return CANCEL;
    if (is("pinpad")) return honest->login(session, user, (unsigned char *)"1234", 4);
    return honest->login(session, user, pin, len);
}

static RV get_attribute_value(ULONG session, ULONG object, Attribute *attributes, ULONG count) {
    RV rv = honest->get_attribute_value(session, object, attributes, count);
    if (attributes[0].value == NULL && length("attribute")) {
        attributes[0].len = length("attribute");
        return OK;
    }
    if (attributes[0].value != NULL && is("attribute-more")) attributes[0].len += 1UL << 40;
    return rv;
}

static RV find_objects(ULONG session, ULONG *objects, ULONG most, ULONG *count) {
    if (is("find-endless")) {
        for (ULONG i = 0; i < most; i++) objects[i] = 1;
        *count = most;
        return OK;
    }
    RV rv = honest->find_objects(session, objects, most, count);
    if (is("find-more")) *count = most + 90;
    if (is("find-none")) *count = 0;
    return rv;
}

static RV decrypt(ULONG session, unsigned char *in, ULONG in_len, unsigned char *out, ULONG *len) {
    if (is("decrypt-hang")) hang();
    if (is("decrypt-crash")) crash();
    if (is("decrypt-incorrect")) return PIN_INCORRECT;
    if (is("decrypt-locked")) return PIN_LOCKED;
    if (is("decrypt-expired")) return PIN_EXPIRED;
    if (is("decrypt-canceled")) return FUNCTION_CANCELED;
    if (is("decrypt-removed")) return DEVICE_REMOVED;
    if (is("decrypt-failed")) return DEVICE_ERROR;
    if (out == NULL && length("decrypt")) {
        *len = length("decrypt");
        return OK;
    }
    RV rv = honest->decrypt(session, in, in_len, out, len);
    if (out != NULL && is("decrypt-more")) *len = 1UL << 40;
    if (out != NULL && is("decrypt-zeros")) memset(out, 0, *len);
    if (out != NULL && is("decrypt-empty")) *len = 0;
    return rv;
}

RV C_GetFunctionList(Functions **list) {
    if (getenv("LIE") != NULL) lie = getenv("LIE");
    if (is("list-null")) {
        *list = NULL;
        return OK;
    }
    void *library = dlopen(getenv("LIE_MODULE"), RTLD_NOW);
    RV (*get)(Functions **) = library ? (RV(*)(Functions **))dlsym(library, "C_GetFunctionList") : NULL;
    if (get == NULL || get(&honest) != OK) return 5;
    lying = *honest;
    lying.initialize = initialize;
    lying.finalize = finalize;
    lying.get_slot_list = get_slot_list;
    lying.get_token_info = get_token_info;
    lying.login = login;
    lying.get_attribute_value = get_attribute_value;
    lying.find_objects = find_objects;
    lying.decrypt = decrypt;
    if (is("list-empty")) lying.decrypt = NULL;
    *list = &lying;
    return OK;
}
