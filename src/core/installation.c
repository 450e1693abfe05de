/*
 * src/core/installation.c
 *		Which installation this is, for PSPs that several of them use.
 *
 * The salt is one row that never changes, but for setup() that is rolled back
 * and run again, and for tables that are dropped and made anew in one session:
 * so it is cached as other small tables are, not once and for all.
 */
#include "payments.h"

#include "core/installation.h"

#include "base/digest.h"
#include "core/cache.h"
#include "core/caller.h"
#include "core/spi.h"

#include "fmgr.h"
#include "utils/builtins.h"

typedef struct PayInstallationEntry
{
	int64		key;			/* there is one */
	PayInstallation installation;
} PayInstallationEntry;

static PayCache salts = {
	.name = "payments salt",
	.key_bytes = sizeof(int64),
	.entry_bytes = sizeof(PayInstallationEntry),
	.tables = {"installation_salt"},
};

static PayInstallation read_installation(void);

PAY_FUNCTION(pay_installation_tag);

static PayStmt read_salt = PAY_STMT_NOARGS(SPI_OK_SELECT, "SELECT salt FROM payments.installation_salt");

PayInstallation
pay_installation(void)
{
	int64		key = 0;
	PayInstallationEntry *entry = pay_cache_find(&salts, &key);
	PayInstallation installation;

	if (entry)
		return entry->installation;
	installation = read_installation();
	entry = pay_cache_add(&salts, &key);
	if (entry)
		entry->installation = installation;
	return installation;
}

static PayInstallation
read_installation(void)
{
	PayInstallation installation;
	PaySha256  *sha = pay_sha_begin();
	uint8		hash[PAY_HASH_BYTES];

	if (pay_spi_exec(&read_salt, NULL) != 1)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_SET_UP),
				 errmsg("this database has no salt of its own"),
				 errhint("If it is being restored, restore the data of payments.installation_salt first; else run \"SELECT payments.setup();\".")));
	/* The CHECK of the table says so too, but a copy of bytes must not rest on it. */
	if (VARSIZE_ANY_EXHDR(pay_spi_bytea(0, 1)) != PAY_SALT_BYTES)
		elog(ERROR, "salt is not of %d bytes", PAY_SALT_BYTES);
	memcpy(installation.salt, VARDATA_ANY(pay_spi_bytea(0, 1)), PAY_SALT_BYTES);
	pay_sha_add_text(sha, "payments.installation_tag.1");
	pay_sha_add_bytes(sha, installation.salt, PAY_SALT_BYTES);
	pay_sha_finish(sha, hash);
	strlcpy(installation.tag, pay_base32(hash, PAY_HASH_BYTES), sizeof(installation.tag));
	return installation;
}

/* installation_tag() */
PAY_VERB(pay_installation_tag)
{
	PayInstallation installation;

	pay_spi_begin();
	installation = pay_installation();
	pay_spi_end();
	PG_RETURN_TEXT_P(cstring_to_text(installation.tag));
}
