/*
 * src/settlement/import.h
 *		What the ways into import_settlement() have in common.
 */
#ifndef PAY_IMPORT_H
#define PAY_IMPORT_H

/* Raises PY608 when a file is larger than is possible. */
extern void pay_import_require_size(size_t bytes);

#endif							/* PAY_IMPORT_H */
