/*
 * src/core/cluster.h
 *		Is this the cluster that may send for real?
 */
#ifndef PAY_CLUSTER_H
#define PAY_CLUSTER_H

/*
 * Compares what arm() recorded with where we are.  Returns NULL when armed,
 * else why not.  Call between pay_spi_begin() and pay_spi_end().
 */
extern const char *pay_cluster_unarmed_reason(void);

/* The cluster's system identifier, in decimal. */
extern const char *pay_cluster_system(void);

/* Does the data directory hold this path (as from realpath)?  Then every copy of it does too. */
extern bool pay_cluster_holds_path(const char *resolved);

#endif							/* PAY_CLUSTER_H */
