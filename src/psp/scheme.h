/*
 * src/psp/scheme.h
 *		How a PSP knows us, and we it, where that can be said without code.
 *
 * An adapter of SQL functions declares it: a function that were given the
 * secret could put it anywhere, into a row or a reference; so no function is.
 */
#ifndef PAY_SCHEME_H
#define PAY_SCHEME_H

#include "psp/psp.h"

typedef enum PayAuthorizeBy
{
	PAY_AUTHORIZE_BEARER,		/* Authorization: Bearer SECRET */
	PAY_AUTHORIZE_BASIC,		/* the secret is name:password */
	PAY_AUTHORIZE_HEADER,		/* the secret in a header of the PSP's own */
	PAY_AUTHORIZE_SIGNATURE,	/* a code over the request; the secret is the key of it */
	PAY_AUTHORIZE_TOKEN			/* RFC 6749, 4.4: a token against name:password, sent like a bearer's */
} PayAuthorizeBy;

typedef enum PayVerifyBy
{
	PAY_VERIFY_NOTHING,			/* it sends no events */
	PAY_VERIFY_ASK,				/* nobody can tell: the PSP is asked */
	PAY_VERIFY_SIGNATURE,
	PAY_VERIFY_STANDARD			/* standardwebhooks.com: webhook-id, webhook-timestamp, webhook-signature */
} PayVerifyBy;

/* HMAC-SHA256. */
typedef struct PaySignature
{
	const char *header;			/* that it is in */
	const char *prefix;			/* in front of it, "" for none */
	const char *over;			/* what is signed: text with {timestamp}, {method}, {path}, {id} and {body} in it */
	bool		base64;			/* else hexadecimal */
	const char *time_header;	/* of {timestamp}, whole seconds; NULL: none */
	const char *id_header;		/* of {id}, of events; likewise */
} PaySignature;

typedef struct PayScheme
{
	PayAuthorizeBy authorize;
	const char *header;			/* of PAY_AUTHORIZE_HEADER */
	PaySignature request;		/* of PAY_AUTHORIZE_SIGNATURE */
	const char *token_path;		/* of PAY_AUTHORIZE_TOKEN: where one is asked for */
	PayVerifyBy verify;
	PaySignature event;			/* of PAY_VERIFY_SIGNATURE; headers in lower case */
	const char *request_id_header;	/* the PSP's id of a request, in lower case; NULL: none */
} PayScheme;

/* The words of data; false for one that is none. */
#define PAY_SCHEME_AUTHORIZE_WORDS "bearer, basic, header, hmac-sha256 and oauth2"
extern bool pay_scheme_parse_authorize(const char *word, PayAuthorizeBy *by);
/* Does the template name nothing but what it may, and has one of an event what keeps the names apart? */
extern bool pay_scheme_template_is_good(const char *over, bool of_event);
/* For whoever plays the PSP: the headers that an event of it has, for such a body and time, NULL-terminated "name: value". */
extern char **pay_scheme_sign_event(const PayScheme *scheme, const char *secret, const char *id, int64 now, const char *body, size_t body_bytes);

#endif							/* PAY_SCHEME_H */
