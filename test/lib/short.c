/*
 * test/lib/short.c
 *		Memory that runs out, for one process and now and then.
 *
 * LD_PRELOAD.  The file that PAY_SHORT names holds two numbers: a process, and
 * which of its allocations fails (every so manieth; 0: none).  Only those count
 * that libcurl and the extension make themselves: the server's own, where it
 * begins a transaction or writes its log, are the server's affair.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *old, size_t n);

static volatile int *orders;

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("PAY_SHORT");
	int			fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *mapped = fd >= 0 ? mmap(NULL, 2 * sizeof(int), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (mapped != MAP_FAILED)
		orders = mapped;
	if (fd >= 0)
		close(fd);
}

static int
fails(const void *caller)
{
	static int	counted = 0;
	Dl_info		info;

	if (orders == NULL || orders[1] == 0 || orders[0] != getpid() ||
		dladdr(caller, &info) == 0 || info.dli_fname == NULL ||
		(strstr(info.dli_fname, "libcurl") == NULL && strstr(info.dli_fname, "payments.so") == NULL))
		return 0;
	if (++counted % orders[1] != 0)
		return 0;
	errno = ENOMEM;
	return 1;
}

void *
malloc(size_t n)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t bytes)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, bytes);
}

void *
realloc(void *old, size_t n)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, n);
}
