/*
 * test/lib/short.c
 *		Memory and descriptors that run out, for one process and now and then.
 *
 * LD_PRELOAD.  The file that PAY_SHORT names holds three numbers: a process (-1:
 * any), which of its requests fails (every so manieth; 0: none), and what these
 * ask for (1: memory, by libcurl; 2: memory, by the extension; 4: descriptors to
 * wait on; or a sum of these).  Only those count that libcurl and the extension
 * make themselves: the server's own, where it begins a transaction or writes its
 * log, are the server's affair.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *old, size_t n);

static volatile int *orders;
static int	ending = 0;

enum { BY_LIBCURL = 1, BY_US = 2, DESCRIPTORS = 4 };

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("PAY_SHORT");
	int			fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *mapped = fd >= 0 ? mmap(NULL, 3 * sizeof(int), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (mapped != MAP_FAILED)
		orders = mapped;
	if (fd >= 0)
		close(fd);
}

static int
fails(const void *caller, int what)
{
	static int	counted = 0;
	Dl_info		info;

	if (orders == NULL || ending || orders[1] == 0 || (orders[0] != -1 && orders[0] != getpid()) ||
		dladdr(caller, &info) == 0 || info.dli_fname == NULL)
		return 0;
	if (strstr(info.dli_fname, "payments.so") == NULL)
		what = strstr(info.dli_fname, "libcurl") ? BY_LIBCURL : 0;
	if ((what & orders[2]) == 0)
		return 0;
	if (++counted % orders[1] != 0)
		return 0;
	errno = ENOMEM;
	return 1;
}

void *
malloc(size_t n)
{
	return fails(__builtin_return_address(0), BY_US) ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t bytes)
{
	return fails(__builtin_return_address(0), BY_US) ? NULL : __libc_calloc(n, bytes);
}

void *
realloc(void *old, size_t n)
{
	return fails(__builtin_return_address(0), BY_US) ? NULL : __libc_realloc(old, n);
}

char *
strdup(const char *text)
{
	size_t		n = strlen(text) + 1;
	char	   *copy = fails(__builtin_return_address(0), BY_US) ? NULL : __libc_malloc(n);

	return copy ? memcpy(copy, text, n) : NULL;
}

int
epoll_create1(int flags)
{
	return fails(__builtin_return_address(0), DESCRIPTORS) ? -1 : (int) syscall(SYS_epoll_create1, flags);
}

int
timerfd_create(int clock, int flags)
{
	return fails(__builtin_return_address(0), DESCRIPTORS) ? -1 : (int) syscall(SYS_timerfd_create, clock, flags);
}

int
epoll_ctl(int set, int what, int fd, struct epoll_event *event)
{
	/* Nothing is asked for to forget one. */
	return what != EPOLL_CTL_DEL && fails(__builtin_return_address(0), DESCRIPTORS) ? -1 : (int) syscall(SYS_epoll_ctl, set, what, fd, event);
}

/* What counts which lines run (make coverage) writes it down then, and does not look at what it gets. */
void
exit(int status)
{
	void		(*really) (int) = (void (*) (int)) dlsym(RTLD_NEXT, "exit");

	ending = 1;
	really(status);
	abort();
}
