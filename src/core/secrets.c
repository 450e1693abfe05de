/*
 * src/core/secrets.c
 *		Secrets live in one file outside the data directory, never in a table.
 *
 * Always true: the file is used only when nobody but the server's user (or
 * root) could have written or read it, and only when no copy of the data
 * directory can hold it; what is judged is the open file, not its name.  No
 * message here holds a byte of the file, nor the name asked for: a caller who
 * passed the secret itself by mistake must not find it in the log.
 *
 * Somebody may be writing the file while it is read: half a key would be
 * refused by the PSP, and the PSP then be halted.  So a line counts when it has
 * its end, and the file when it did not change under our hands.
 *
 * Nothing is kept between calls, so a crash leaves nothing but what a core
 * dump shows of the call it hit.
 */
#include "payments.h"

#include "core/secrets.h"

#include "core/cluster.h"
#include "core/guc.h"

#include "miscadmin.h"
#include "storage/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (64 * 1024)

typedef enum PayEntry
{
	ENTRY_OTHER,				/* a comment, a blank line, another name */
	ENTRY_OK,
	ENTRY_UNUSABLE
} PayEntry;

static const char no_entry[] = "";

static int	open_secrets(const char *path, const char **problem);
static const char *judge_path(const char *path, char *resolved);
static const char *judge_file(int fd);
static ssize_t read_all(int fd, char *buffer, size_t size);
static ssize_t read_unchanged(int fd, char *buffer, size_t size, const char **problem);
static const char *find_entry(const char *text, size_t bytes, const char *name, char *value);
static PayEntry match_line(const char *line, size_t bytes, const char *name, char *value);
static void trim(const char **text, size_t *bytes);

char *
pay_secret_find(const char *name, const char **problem)
{
	char	   *value;
	char	   *text;
	int			fd;
	ssize_t		bytes;

	*problem = NULL;
	fd = open_secrets(pay_secrets_file, problem);
	if (fd < 0)
		return NULL;

	/* Nothing from here to the wipe may raise. */
	value = palloc_extended(PAY_SECRET_BYTES_MAX + 1, MCXT_ALLOC_NO_OOM);
	text = malloc(FILE_BYTES_MAX + 1);
	if (value == NULL || text == NULL)
		*problem = "out of memory";
	else if ((bytes = read_unchanged(fd, text, FILE_BYTES_MAX + 1, problem)) < 0)
		;
	else if (bytes > FILE_BYTES_MAX)
		*problem = "the file that payments.secrets_file names is larger than 64 kB";
	else
		*problem = find_entry(text, bytes, name, value);

	close(fd);
	if (text != NULL)
	{
		explicit_bzero(text, FILE_BYTES_MAX + 1);
		free(text);
	}
	if (*problem == NULL)
		return value;
	if (value != NULL)
	{
		explicit_bzero(value, PAY_SECRET_BYTES_MAX + 1);
		pfree(value);
	}
	if (*problem == no_entry)
		*problem = psprintf("payments.secrets_file has no entry \"%s\"", name);
	return NULL;
}

/*
 * Returns a descriptor, or -1 with the problem set.
 */
static int
open_secrets(const char *path, const char **problem)
{
	char		resolved[PATH_MAX];
	int			fd;

	if (path == NULL || path[0] == '\0')
	{
		*problem = "payments.secrets_file is not set";
		return -1;
	}
	*problem = judge_path(path, resolved);
	if (*problem != NULL)
		return -1;

	/* Non-blocking: a FIFO would hang the open before we could refuse it. */
	fd = BasicOpenFile(resolved, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
	{
		*problem = psprintf("could not open the file that payments.secrets_file names: %m");
		return -1;
	}
	*problem = judge_file(fd);
	if (*problem != NULL)
	{
		close(fd);
		return -1;
	}
	return fd;
}

/*
 * Follows links (mounted secrets are links) and judges where the path ends.
 */
static const char *
judge_path(const char *path, char *resolved)
{
	if (!is_absolute_path(path))
		return "payments.secrets_file is not an absolute path";
	if (realpath(path, resolved) == NULL)
		return psprintf("could not find the file that payments.secrets_file names: %m");
	if (pay_cluster_holds_path(resolved))
		return "the file that payments.secrets_file names is inside the data directory";
	return NULL;
}

static const char *
judge_file(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return psprintf("could not stat the file that payments.secrets_file names: %m");
	if (!S_ISREG(st.st_mode))
		return "payments.secrets_file does not name a regular file";
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return "the file that payments.secrets_file names belongs neither to the server's user nor to root";
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return "the file that payments.secrets_file names can be reached by group or others (its mode must be 0600)";
	if (st.st_size > FILE_BYTES_MAX)
		return "the file that payments.secrets_file names is larger than 64 kB";
	return NULL;
}

/*
 * Reads up to `size` bytes.  Returns how many, or -1.
 */
static ssize_t
read_all(int fd, char *buffer, size_t size)
{
	size_t		done = 0;

	/* Each turn but an interrupted one reads at least a byte. */
	while (done < size)
	{
		ssize_t		n = read(fd, buffer + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += n;
	}
	return done;
}

/*
 * The same.  Sets the problem with -1: the file cannot be read, or it was
 * written meanwhile.
 */
static ssize_t
read_unchanged(int fd, char *buffer, size_t size, const char **problem)
{
	struct stat before,
				after;
	ssize_t		bytes = -1;

	*problem = "could not read the file that payments.secrets_file names";
	if (fstat(fd, &before) != 0 || (bytes = read_all(fd, buffer, size)) < 0 || fstat(fd, &after) != 0)
		return -1;
	if (before.st_size != after.st_size || before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
		before.st_mtim.tv_nsec != after.st_mtim.tv_nsec)
	{
		*problem = "the file that payments.secrets_file names is being written";
		return -1;
	}
	*problem = NULL;
	return bytes;
}

/*
 * Copies the value of `name`, which must stand there once: of two, nobody
 * could say which one counts.  Returns the problem, or NULL.
 */
static const char *
find_entry(const char *text, size_t bytes, const char *name, char *value)
{
	const char *line = text;
	const char *end = text + bytes;
	bool		found = false;

	while (line < end)
	{
		const char *newline = memchr(line, '\n', end - line);
		size_t		line_bytes = (newline == NULL ? end : newline) - line;

		switch (match_line(line, line_bytes, name, value))
		{
			case ENTRY_OTHER:
				break;
			case ENTRY_OK:
				if (found)
					return "payments.secrets_file names this secret twice";
				if (newline == NULL)
					return "the entry in payments.secrets_file has no newline at its end: it may be half of one";
				found = true;
				break;
			case ENTRY_UNUSABLE:
				return "the entry in payments.secrets_file is empty, too long, or has control characters";
		}
		line += line_bytes + 1;
	}
	return found ? NULL : no_entry;
}

/*
 * Reads one line "name = value".  Control characters are refused in a value:
 * it becomes part of a header line.
 */
static PayEntry
match_line(const char *line, size_t bytes, const char *name, char *value)
{
	const char *equals;
	const char *key;
	const char *from;
	size_t		key_bytes;
	size_t		from_bytes;

	trim(&line, &bytes);
	if (bytes == 0 || line[0] == '#' || (equals = memchr(line, '=', bytes)) == NULL)
		return ENTRY_OTHER;
	key = line;
	key_bytes = equals - line;
	trim(&key, &key_bytes);
	if (key_bytes != strlen(name) || memcmp(key, name, key_bytes) != 0)
		return ENTRY_OTHER;

	from = equals + 1;
	from_bytes = line + bytes - from;
	trim(&from, &from_bytes);
	if (from_bytes == 0 || from_bytes > PAY_SECRET_BYTES_MAX)
		return ENTRY_UNUSABLE;
	for (size_t i = 0; i < from_bytes; i++)
		if ((unsigned char) from[i] < ' ' || from[i] == 0x7f)
			return ENTRY_UNUSABLE;
	memcpy(value, from, from_bytes);
	value[from_bytes] = '\0';
	return ENTRY_OK;
}

static void
trim(const char **text, size_t *bytes)
{
	while (*bytes > 0 && ((*text)[0] == ' ' || (*text)[0] == '\t'))
	{
		(*text)++;
		(*bytes)--;
	}
	while (*bytes > 0 && ((*text)[*bytes - 1] == ' ' || (*text)[*bytes - 1] == '\t' || (*text)[*bytes - 1] == '\r'))
		(*bytes)--;
}
