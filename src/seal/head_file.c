/*
 * src/seal/head_file.c
 *		Heads leave the database into a file.
 *
 * The file is a witness only as long as whoever can change the database cannot
 * change it, so it lies outside of the data directory (and should be copied
 * off the machine, or be append-only).  Always true: lines are only ever
 * added, to a regular file that belongs to the server's user.
 *
 * A full disk or a crash leaves at worst a line cut short.  It stays as it is:
 * each line ends with a check of itself, so verify() passes such a one over,
 * and what comes next begins on a line of its own.  What could not be written
 * whole is written again, and the newest head when the worker starts.
 */
#include "payments.h"

#include "seal/head_file.h"

#include "core/cluster.h"
#include "core/guc.h"

#include "storage/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *judge_folder(const char *path, char *folder);
static const char *write_lines(int fd, const char *lines);
static bool ends_line(int fd, off_t end);
static bool write_all(int fd, const char *text, size_t bytes);

const char *
pay_seal_file_append(const char *lines)
{
	char		folder[PATH_MAX];
	const char *problem = judge_folder(pay_seal_file, folder);
	bool		is_new;
	int			fd;

	if (problem != NULL)
		return problem;
	is_new = access(pay_seal_file, F_OK) != 0;
	/* Non-blocking: a FIFO would hang the open before we could refuse it. */
	fd = BasicOpenFilePerm(pay_seal_file, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY,
						   S_IRUSR | S_IWUSR | S_IRGRP);
	if (fd < 0)
		return psprintf("could not open the file that payments.seal_file names: %m");
	problem = write_lines(fd, lines);
	if (close(fd) != 0 && problem == NULL)
		problem = psprintf("could not close the file that payments.seal_file names: %m");
	/* The name of a new file must be on disk as well. */
	if (problem == NULL && is_new && (fd = BasicOpenFile(folder, O_RDONLY | O_CLOEXEC)) >= 0)
	{
		(void) pg_fsync(fd);
		close(fd);
	}
	return problem;
}

static const char *
judge_folder(const char *path, char *folder)
{
	char		copy[PATH_MAX];

	if (!is_absolute_path(path) || strlen(path) >= PATH_MAX)
		return "payments.seal_file is not an absolute path";
	strlcpy(copy, path, PATH_MAX);
	get_parent_directory(copy);
	if (realpath(copy, folder) == NULL)
		return psprintf("could not find the folder of the file that payments.seal_file names: %m");
	if (pay_cluster_holds_path(folder))
		return "the file that payments.seal_file names is inside the data directory";
	return NULL;
}

static const char *
write_lines(int fd, const char *lines)
{
	struct stat st;
	off_t		end;
	bool		glued;

	if (fstat(fd, &st) != 0)
		return psprintf("could not stat the file that payments.seal_file names: %m");
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return "payments.seal_file does not name a regular file of the server's user";
	if (!ends_line(fd, st.st_size))
	{
		ereport(LOG,
				(errmsg("the file that payments.seal_file names ends with a line that was cut short"),
				 errhint("It stays there, and verify() passes it over; the next head begins on a line of its own.")));
		lines = psprintf("\n%s", lines);
	}
	if (!write_all(fd, lines, strlen(lines)))
		return psprintf("could not write to the file that payments.seal_file names: %m");
	end = lseek(fd, 0, SEEK_CUR);
	glued = end < (off_t) strlen(lines) || (lines[0] != '\n' && !ends_line(fd, end - (off_t) strlen(lines)));
	/* Whatever the setting fsync says: it is about the data directory. */
	if (fsync(fd) != 0)
		return psprintf("could not fsync the file that payments.seal_file names: %m");
	/* The worker of another database may have come between. */
	return glued ? "another worker left a line cut short in front of it" : NULL;
}

/* Is the byte before `end` a newline, or nothing there? */
static bool
ends_line(int fd, off_t end)
{
	char		last = '\0';

	return end == 0 || (pread(fd, &last, 1, end - 1) == 1 && last == '\n');
}

/* On a full disk the first write may be short, and the second one says why. */
static bool
write_all(int fd, const char *text, size_t bytes)
{
	while (bytes > 0)
	{
		ssize_t		n;

		errno = ENOSPC;			/* unless it says another reason */
		n = write(fd, text, bytes);
		if (n <= 0)
			return false;
		text += n;
		bytes -= n;
	}
	return true;
}
