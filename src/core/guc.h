/*
 * src/core/guc.h
 *		All settings; docs/settings.md explains them.
 */
#ifndef PAY_GUC_H
#define PAY_GUC_H

extern bool pay_allow_http;
extern char *pay_allow_networks;
extern char *pay_arming_file;
extern int	pay_batch_size;
extern char *pay_ca_file;
extern int	pay_connect_timeout_ms;
extern char *pay_databases;
extern bool pay_guard_ddl;
extern int	pay_inflight_max;
extern int	pay_lease_ms;
extern int	pay_poll_interval_ms;
extern char *pay_psp_hosts;
extern char *pay_seal_file;
extern int	pay_seal_interval_ms;
extern char *pay_secrets_file;

extern void pay_guc_init(void);

#endif							/* PAY_GUC_H */
