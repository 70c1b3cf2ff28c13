/* A library for LD_PRELOAD that fails chosen system calls of a process.
 *
 * FAIL_BELOW    a file, or a directory: only calls on it and on files below it count
 * FAIL_CALLS    names of calls, separated by commas, or "all"
 * FAIL_NUMBER   the call that fails, counted from 1; 0 fails none
 * FAIL_ERRNO    the number of the error; 0 kills the process instead
 * FAIL_LASTING  set: all calls after that one fail too
 * FAIL_LOG      file: a line for each call that counts
 * FAIL_UNNAMED  set: there are no files without names (O_TMPFILE), as on some file systems
 *
 * `close` does its work before it fails, as the kernel does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
static char calls[1024];
static size_t below_length;
static long number, error_number;
static int lasting, no_unnamed, journal = -1;
static long counted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void)
{
    const char *found = getenv("FAIL_BELOW");
    if (found == NULL)
        return;
    if (realpath(found, below) == NULL) /* the file does not exist yet */
        snprintf(below, sizeof below, "%s", found);
    below_length = strlen(below);
    snprintf(calls, sizeof calls, ",%s,", getenv("FAIL_CALLS") ? getenv("FAIL_CALLS") : "");
    number = getenv("FAIL_NUMBER") ? atol(getenv("FAIL_NUMBER")) : 0;
    error_number = getenv("FAIL_ERRNO") ? atol(getenv("FAIL_ERRNO")) : EIO;
    lasting = getenv("FAIL_LASTING") != NULL;
    no_unnamed = getenv("FAIL_UNNAMED") != NULL;
    if ((found = getenv("FAIL_LOG")) != NULL) {
        int opened = syscall(SYS_openat, AT_FDCWD, found, O_WRONLY | O_CREAT | O_APPEND, 0600);
        journal = syscall(SYS_fcntl, opened, F_DUPFD_CLOEXEC, 500); /* keep low descriptors free */
        syscall(SYS_close, opened);
    }
}

/* Write the absolute path of an open file. */
static int path_of(int descriptor, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

/* Write the absolute path of a name in a directory. */
static int path_at(int directory, const char *name, char *path)
{
    char around[PATH_MAX];
    if (name[0] == '/')
        return snprintf(path, PATH_MAX, "%s", name) > 0;
    if (directory == AT_FDCWD ? getcwd(around, sizeof around) == NULL : !path_of(directory, around))
        return 0;
    return snprintf(path, PATH_MAX, "%.2000s/%.2000s", around, name) > 0;
}

/* Count a call; return whether it has to fail, with errno set. */
static int fails(const char *call, const char *path)
{
    char wanted[64];
    int saved = errno, chosen = 0;
    if (!below_length || strncmp(path, below, below_length) != 0 ||
        (path[below_length] != '/' && path[below_length] != 0))
        return 0;
    snprintf(wanted, sizeof wanted, ",%s,", call);
    if (strcmp(calls, ",all,") != 0 && strstr(calls, wanted) == NULL)
        return 0;
    pthread_mutex_lock(&lock);
    counted++;
    if (number > 0)
        chosen = lasting ? counted >= number : counted == number;
    if (journal >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%s %s%s\n", call, path, chosen ? " FAILS" : "");
        syscall(SYS_write, journal, line, (size_t)length);
    }
    pthread_mutex_unlock(&lock);
    if (chosen && error_number == 0)
        kill(getpid(), SIGKILL);
    errno = chosen ? (int)error_number : saved;
    return chosen;
}

static int fails_on(const char *call, int descriptor)
{
    char path[PATH_MAX];
    int saved = errno;
    if (!below_length || !path_of(descriptor, path)) {
        errno = saved;
        return 0;
    }
    errno = saved;
    return fails(call, path);
}

static int fails_at(const char *call, int directory, const char *name)
{
    char path[PATH_MAX];
    int saved = errno;
    if (!below_length || name == NULL || !path_at(directory, name, path)) {
        errno = saved;
        return 0;
    }
    errno = saved;
    return fails(call, path);
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (next == NULL) \
        next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define ON_DESCRIPTOR(result, name, call, parameters, arguments) \
    result name parameters \
    { \
        NEXT(name); \
        return fails_on(call, descriptor) ? -1 : next arguments; \
    }

#define AT_PATH(result, name, call, directory, path, parameters, arguments) \
    result name parameters \
    { \
        NEXT(name); \
        return fails_at(call, directory, path) ? -1 : next arguments; \
    }

ON_DESCRIPTOR(int, fsync, "fsync", (int descriptor), (descriptor))
ON_DESCRIPTOR(int, fdatasync, "fdatasync", (int descriptor), (descriptor))
ON_DESCRIPTOR(ssize_t, read, "read", (int descriptor, void *to, size_t size), (descriptor, to, size))
ON_DESCRIPTOR(ssize_t, pread, "pread", (int descriptor, void *to, size_t size, off_t at),
              (descriptor, to, size, at))
ON_DESCRIPTOR(ssize_t, pread64, "pread", (int descriptor, void *to, size_t size, off64_t at),
              (descriptor, to, size, at))
ON_DESCRIPTOR(ssize_t, preadv, "pread", (int descriptor, const struct iovec *to, int count, off_t at),
              (descriptor, to, count, at))
ON_DESCRIPTOR(ssize_t, preadv64, "pread",
              (int descriptor, const struct iovec *to, int count, off64_t at),
              (descriptor, to, count, at))
ON_DESCRIPTOR(ssize_t, write, "write", (int descriptor, const void *from, size_t size),
              (descriptor, from, size))
ON_DESCRIPTOR(ssize_t, writev, "write", (int descriptor, const struct iovec *from, int count),
              (descriptor, from, count))
ON_DESCRIPTOR(ssize_t, pwrite, "pwrite", (int descriptor, const void *from, size_t size, off_t at),
              (descriptor, from, size, at))
ON_DESCRIPTOR(ssize_t, pwrite64, "pwrite",
              (int descriptor, const void *from, size_t size, off64_t at),
              (descriptor, from, size, at))
ON_DESCRIPTOR(int, ftruncate, "ftruncate", (int descriptor, off_t size), (descriptor, size))
ON_DESCRIPTOR(int, ftruncate64, "ftruncate", (int descriptor, off64_t size), (descriptor, size))
ON_DESCRIPTOR(int, fchmod, "fchmod", (int descriptor, mode_t mode), (descriptor, mode))
ON_DESCRIPTOR(int, fchown, "fchown", (int descriptor, uid_t user, gid_t group),
              (descriptor, user, group))

AT_PATH(int, rename, "rename", AT_FDCWD, to, (const char *from, const char *to), (from, to))
AT_PATH(int, renameat, "rename", newer, to, (int older, const char *from, int newer, const char *to),
        (older, from, newer, to))
AT_PATH(int, link, "link", AT_FDCWD, to, (const char *from, const char *to), (from, to))
AT_PATH(int, linkat, "link", newer, to,
        (int older, const char *from, int newer, const char *to, int flags),
        (older, from, newer, to, flags))
AT_PATH(int, unlink, "unlink", AT_FDCWD, path, (const char *path), (path))
AT_PATH(int, unlinkat, "unlink", directory, path, (int directory, const char *path, int flags),
        (directory, path, flags))
AT_PATH(int, rmdir, "unlink", AT_FDCWD, path, (const char *path), (path))
AT_PATH(int, mkdir, "mkdir", AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
AT_PATH(int, mkdirat, "mkdir", directory, path, (int directory, const char *path, mode_t mode),
        (directory, path, mode))
AT_PATH(int, truncate, "ftruncate", AT_FDCWD, path, (const char *path, off_t size), (path, size))
AT_PATH(int, truncate64, "ftruncate", AT_FDCWD, path, (const char *path, off64_t size),
        (path, size))

int close(int descriptor)
{
    NEXT(close);
    if (!fails_on("close", descriptor))
        return next(descriptor);
    int error = errno;
    next(descriptor);
    errno = error;
    return -1;
}

#define OPEN(name, directory, parameters, arguments) \
    int name parameters \
    { \
        NEXT(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if (no_unnamed && (flags & O_TMPFILE) == O_TMPFILE) { \
            errno = EOPNOTSUPP; \
            return -1; \
        } \
        return fails_at("open", directory, path) ? -1 : next arguments; \
    }

OPEN(open, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, directory, (int directory, const char *path, int flags, ...),
     (directory, path, flags, mode))
OPEN(openat64, directory, (int directory, const char *path, int flags, ...),
     (directory, path, flags, mode))
