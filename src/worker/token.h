/*
 * src/worker/token.h
 *		The token of a PSP that wants one: kept, renewed before it ends, and
 *		once when the PSP refuses it.
 *
 * Pure: a struct, and a clock given by the caller.
 */
#ifndef PAY_TOKEN_H
#define PAY_TOKEN_H

#include "core/clock.h"
#include "psp/psp.h"

#define PAY_TOKEN_BYTES_MAX 8000

typedef struct PayTokenCache
{
	char		text[PAY_TOKEN_BYTES_MAX + 1];	/* "": none at hand */
	int64		serial;			/* of the token; 0: there was none yet */
	PaySteady	ends_at;
	PaySteady	ask_at;			/* for the next; in the past while there is none */
	bool		asking;			/* a request for one is in flight */
	bool		outdated;		/* what it brings is not to be used */
	bool		on_trial;		/* fetched because its predecessor was refused, and not honoured yet */
	int			failures;		/* to get one, in a row */
} PayTokenCache;

/* What a PSP's answer says of the token that was sent. */
typedef enum PayTokenWord
{
	PAY_TOKEN_HONOURED,
	PAY_TOKEN_ENDED,			/* the request was not processed, and is to be sent again with another token */
	PAY_TOKEN_REFUSED			/* though it was new: our credentials are no good */
} PayTokenWord;

/* May requests be made with it? */
extern bool pay_token_usable(const PayTokenCache *cache, PaySteady now);
/* When the next is to be asked for; PAY_NEVER while that is being done. */
extern PaySteady pay_token_due(const PayTokenCache *cache);
extern void pay_token_asked(PayTokenCache *cache);
/* Takes it over.  False, and it counts as a failure, when it is none that could be sent. */
extern bool pay_token_got(PayTokenCache *cache, const PayToken *token, PaySteady now);
/* It could not be asked for, for a reason of our own: again soon. */
extern void pay_token_put_off(PayTokenCache *cache, PaySteady now);
/* None came: the next try waits, longer each time, and as long as the PSP says (an hour at most; -1: it says nothing). */
extern void pay_token_failed(PayTokenCache *cache, int retry_after_s, PaySteady now);
/* Of an answer to a request that was sent with the token of that serial; 0: no answer came. */
extern PayTokenWord pay_token_answered(PayTokenCache *cache, int64 serial, int http_status);
/* The secret or the address is another: what we have is not for it. */
extern void pay_token_forget(PayTokenCache *cache);

#endif							/* PAY_TOKEN_H */
