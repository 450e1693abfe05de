/*
 * src/core/cluster.h
 *		Which server is this, and which data directory is it on?
 */
#ifndef PAY_CLUSTER_H
#define PAY_CLUSTER_H

/* The cluster's system identifier, in decimal. */
extern const char *pay_cluster_system(void);

/* Name of the host, or of the container. */
extern const char *pay_cluster_host(void);

/*
 * This data directory, and no copy of it beside it: its path, and the number
 * that the file system has given to a file in it which is never replaced.
 * Devices have no numbers that last: those change with the order of mounts.
 */
extern const char *pay_cluster_place(void);

/* This running server: differs after each start of it, and between any two. */
extern const char *pay_cluster_run(void);

/* Raises this SQLSTATE on a standby, where nothing of ours can be written. */
extern void pay_cluster_require_primary(int sqlstate);

/* Does the data directory hold this path (as from realpath)?  Then every copy of it does too. */
extern bool pay_cluster_holds_path(const char *resolved);

#endif							/* PAY_CLUSTER_H */
