/*
 * src/core/arming_file.c
 *		The arming's half that no copy of the database carries.
 *
 * One small file for each installation, outside of the data directory, beside
 * the secrets.  It names the data directory and the database that are armed,
 * the server that runs there, and a token that the database must have too.
 *
 * The file has its name from the salt, which all copies of a database share and
 * no two others do: copies give the PSP the same keys for different payments,
 * so of those that see this file one is armed, in whatever server or database
 * they are.  A database that was dropped leaves a file that nobody holds, and
 * who comes next takes it over.
 *
 * Always true: a file that is used belongs to the server's user and can be
 * reached by nobody else; what cannot be read to its last line arms nobody, so
 * a write that a crash cuts short is safe.  It is written in place, since a
 * lock belongs to a file and not to its name.
 */
#include "payments.h"

#include "core/arming_file.h"

#include "core/cluster.h"
#include "core/guc.h"
#include "core/installation.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "storage/fd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (PATH_MAX + 512)
#define OPEN_FLAGS (O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)

/* Descriptor that holds the lock; -1: none. */
static int	lock_fd = -1;

/* What this transaction removes when it commits, and the subtransaction that has asked for it. */
static char remove_path[PATH_MAX];
static SubTransactionId remove_asked_in = InvalidSubTransactionId;

static const char *file_path(char *path);
static int	open_file(int flags, const char **problem);
static bool parse(char *text, PayArmingFile *file);
static bool take_line(char **text, const char *name, char *value, size_t size);
static struct flock whole_file(void);
static bool same_file(int fd);
static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId subtransaction, SubTransactionId parent, void *arg);

/* Returns the problem, or NULL. */
static const char *
file_path(char *path)
{
	char		folder[PATH_MAX];
	char		resolved[PATH_MAX];
	bool		own = pay_arming_file && pay_arming_file[0] != '\0';
	const char *stem = own ? pay_arming_file : pay_secrets_file;

	if (stem == NULL || stem[0] == '\0')
		return "neither payments.arming_file nor payments.secrets_file is set";
	if (!is_absolute_path(stem))
		return "the path of the arming file is not absolute";
	if (snprintf(path, PATH_MAX, "%s%s.%s", stem, own ? "" : ".armed", pay_installation().tag) >= PATH_MAX)
		return "the path of the arming file is too long";
	strlcpy(folder, path, PATH_MAX);
	get_parent_directory(folder);
	if (realpath(folder, resolved) == NULL)
		return psprintf("could not find the folder of the arming file: %m");
	if (pay_cluster_holds_path(resolved))
		return "the arming file would be inside the data directory";
	return NULL;
}

static int
open_file(int flags, const char **problem)
{
	char		path[PATH_MAX];
	struct stat st;
	int			fd;

	*problem = file_path(path);
	if (*problem)
	{
		errno = EINVAL;
		return -1;
	}
	fd = BasicOpenFilePerm(path, OPEN_FLAGS | flags, S_IRUSR | S_IWUSR);
	if (fd < 0)
	{
		int			failed = errno;

		*problem = psprintf("could not open the arming file: %m");
		errno = failed;
		return -1;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & (S_IRWXG | S_IRWXO)) == 0)
		return fd;
	close(fd);
	errno = EINVAL;
	*problem = "the arming file is no regular file that belongs to the server's user alone (its mode must be 0600)";
	return -1;
}

const char *
pay_arming_file_read(PayArmingFile *file, bool *absent)
{
	char		text[FILE_BYTES_MAX + 1];
	const char *problem;
	int			fd = open_file(0, &problem);
	ssize_t		bytes;

	memset(file, 0, sizeof(*file));
	*absent = fd < 0 && errno == ENOENT;
	if (fd < 0)
		return *absent ? "the arming file is not here: this is a copy, or the file was removed" : problem;
	bytes = pg_pread(fd, text, FILE_BYTES_MAX, 0);
	close(fd);
	if (bytes < 0)
		return "could not read the arming file";
	text[bytes] = '\0';
	return parse(text, file) ? NULL : "the arming file is damaged";
}

static bool
parse(char *text, PayArmingFile *file)
{
	return take_line(&text, "place ", file->place, sizeof(file->place)) &&
		take_line(&text, "database ", file->database, sizeof(file->database)) &&
		take_line(&text, "run ", file->run, sizeof(file->run)) &&
		take_line(&text, "token ", file->token, sizeof(file->token)) &&
		take_line(&text, "next ", file->next, sizeof(file->next)) &&
		strcmp(text, "end\n") == 0;
}

static bool
take_line(char **text, const char *name, char *value, size_t size)
{
	size_t		bytes = strlen(name);
	char	   *newline = strchr(*text, '\n');

	if (newline == NULL || strncmp(*text, name, bytes) != 0)
		return false;
	*newline = '\0';
	if (strlcpy(value, *text + bytes, size) >= size)
		return false;
	*text = newline + 1;
	return true;
}

const char *
pay_arming_file_write(const PayArmingFile *file)
{
	StringInfoData text;
	const char *problem;
	int			fd = open_file(O_CREAT, &problem);

	if (fd < 0)
		return problem;
	remove_asked_in = InvalidSubTransactionId;
	initStringInfo(&text);
	appendStringInfo(&text, "place %s\ndatabase %s\nrun %s\ntoken %s\nnext %s\nend\n",
					 file->place, file->database, file->run, file->token, file->next);
	errno = 0;
	if (pg_pwrite(fd, text.data, text.len, 0) != text.len || ftruncate(fd, text.len) != 0 || fsync(fd) != 0)
		problem = psprintf("could not write the arming file: %s", errno == 0 ? "it was cut short" : strerror(errno));
	close(fd);
	return problem;
}

void
pay_arming_file_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

void
pay_arming_file_remove_at_commit(void)
{
	if (file_path(remove_path) == NULL)
		remove_asked_in = GetCurrentSubTransactionId();
}

/* Before the commit: after it the row is free, and the file might be the next one's. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && remove_asked_in != InvalidSubTransactionId)
		(void) unlink(remove_path);
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		remove_asked_in = InvalidSubTransactionId;
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subtransaction, SubTransactionId parent, void *arg)
{
	if (subtransaction != remove_asked_in)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		remove_asked_in = parent;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		remove_asked_in = InvalidSubTransactionId;
}

/* Of an open file, not of a process: whatever else opens and closes the file leaves it alone. */
bool
pay_arming_file_lock(void)
{
	struct flock lock = whole_file();
	const char *problem;
	int			fd;

	pay_arming_file_release();
	fd = open_file(0, &problem);
	if (fd < 0)
		return false;
	if (fcntl(fd, F_OFD_SETLK, &lock) != 0)
	{
		close(fd);
		return false;
	}
	lock_fd = fd;
	ReserveExternalFD();
	if (same_file(fd))
		return true;
	pay_arming_file_release();
	return false;
}

static struct flock
whole_file(void)
{
	return (struct flock) {.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

bool
pay_arming_file_held(void)
{
	struct flock lock = whole_file();
	const char *problem;
	int			fd = open_file(0, &problem);
	bool		held;

	if (fd < 0)
		return false;
	held = fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
	close(fd);
	return held;
}

void
pay_arming_file_release(void)
{
	if (lock_fd < 0)
		return;
	close(lock_fd);
	lock_fd = -1;
	ReleaseExternalFD();
}

bool
pay_arming_file_locked(void)
{
	return lock_fd >= 0 && same_file(lock_fd);
}

/* It may have been removed, and made anew. */
static bool
same_file(int fd)
{
	char		path[PATH_MAX];
	struct stat ours,
				theirs;

	return file_path(path) == NULL && fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 &&
		ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}
