/*
 * src/core/installation.h
 *		Which installation this is, for PSPs that several of them use.
 */
#ifndef PAY_INSTALLATION_H
#define PAY_INSTALLATION_H

#define PAY_SALT_BYTES 32
#define PAY_TAG_CHARS 8

typedef struct PayInstallation
{
	uint8		salt[PAY_SALT_BYTES];	/* secret */
	char		tag[PAY_TAG_CHARS + 1];	/* base32; public, and as good as unique */
} PayInstallation;

/* Raises PAY_ERR_NOT_SET_UP when there is no salt.  Call between pay_spi_begin() and pay_spi_end(). */
extern PayInstallation pay_installation(void);

#endif							/* PAY_INSTALLATION_H */
