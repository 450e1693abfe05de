/*
 * src/init.c
 *		Module magic and _PG_init: calls each module's init, nothing else.
 */
#include "payments.h"

#include "core/arming_file.h"
#include "core/confined.h"
#include "core/guard.h"
#include "core/guc.h"
#include "core/wake.h"
#include "payment/health_board.h"
#include "worker/launcher.h"

#include "fmgr.h"
#include "miscadmin.h"

/* 15 does not export it by itself when symbols are hidden. */
PAY_EXPORT extern const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);
PG_MODULE_MAGIC;

PAY_EXPORT extern void _PG_init(void);

void
_PG_init(void)
{
	pay_guc_init();
	pay_wake_init();
	pay_arming_file_init();
	pay_guard_lift_init();
	pay_confined_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	pay_guard_init();
	pay_health_board_init();
	pay_launcher_init();
}
