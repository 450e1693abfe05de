/*
 * src/worker/token.c
 *		The token of a PSP that wants one.
 *
 * Always true: a token is asked for by one request at a time, the old one
 * serves until it ends or the new one is here, and of two refusals in a row,
 * with a new token in between, the second is believed.  Without that a wrong
 * secret would fetch tokens for ever, and without the first a token that the
 * PSP ended early would halt it.
 */
#include "payments.h"

#include "worker/token.h"

/* A longer life is cut: asking once a week costs nothing. */
#define VALID_S_MAX (7 * 24 * 60 * 60)
/* A new one is asked for in the last tenth of its life, or the last minute of a short one. */
#define LEAD_S 60
#define RETRY_S_MAX 60
#define RETRY_AFTER_S_MAX (60 * 60)

static bool is_sendable(const char *text);
static void drop(PayTokenCache *cache);

bool
pay_token_usable(const PayTokenCache *cache, PaySteady now)
{
	return cache->text[0] != '\0' && now < cache->ends_at;
}

PaySteady
pay_token_due(const PayTokenCache *cache)
{
	return cache->asking ? PAY_NEVER : cache->ask_at;
}

void
pay_token_asked(PayTokenCache *cache)
{
	cache->asking = true;
}

bool
pay_token_got(PayTokenCache *cache, const PayToken *token, PaySteady now)
{
	int			valid_s = Min(token->valid_s, VALID_S_MAX);
	int			lead_s = Max(valid_s / 10, Min(LEAD_S, valid_s / 2));

	if (cache->outdated || !is_sendable(token->text) || valid_s <= 0)
	{
		pay_token_failed(cache, -1, now);
		return false;
	}
	drop(cache);
	strlcpy(cache->text, token->text, sizeof(cache->text));
	cache->serial++;
	cache->ends_at = now + (PaySteady) valid_s * USECS_PER_SEC;
	cache->ask_at = cache->ends_at - (PaySteady) lead_s * USECS_PER_SEC;
	cache->asking = false;
	cache->failures = 0;
	return true;
}

/* It goes into a header. */
static bool
is_sendable(const char *text)
{
	size_t		bytes = text ? strnlen(text, PAY_TOKEN_BYTES_MAX + 1) : 0;

	for (size_t i = 0; i < bytes; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return bytes > 0 && bytes <= PAY_TOKEN_BYTES_MAX;
}

void
pay_token_put_off(PayTokenCache *cache, PaySteady now)
{
	cache->asking = cache->outdated = false;
	cache->ask_at = now + USECS_PER_SEC;
}

void
pay_token_failed(PayTokenCache *cache, int retry_after_s, PaySteady now)
{
	int			delay_s = Max(Min(1 << Min(cache->failures, 10), RETRY_S_MAX), Min(retry_after_s, RETRY_AFTER_S_MAX));

	cache->asking = false;
	if (cache->outdated)
	{
		/* Whatever came of it says nothing: the next is asked for at once. */
		cache->outdated = false;
		cache->ask_at = 0;
		return;
	}
	cache->failures++;
	cache->ask_at = now + (PaySteady) delay_s * USECS_PER_SEC;
}

PayTokenWord
pay_token_answered(PayTokenCache *cache, int64 serial, int http_status)
{
	bool		is_ours = serial == cache->serial && cache->text[0] != '\0';

	if (http_status != 401)
	{
		if (is_ours && http_status != 0)
			cache->on_trial = false;
		return PAY_TOKEN_HONOURED;
	}
	/* Sent with one that we have given up since. */
	if (!is_ours)
		return PAY_TOKEN_ENDED;
	drop(cache);
	cache->ask_at = 0;
	if (cache->on_trial)
		return PAY_TOKEN_REFUSED;
	cache->on_trial = true;
	return PAY_TOKEN_ENDED;
}

void
pay_token_forget(PayTokenCache *cache)
{
	drop(cache);
	cache->ask_at = 0;
	cache->on_trial = false;
	cache->failures = 0;
	cache->outdated = cache->asking;
}

static void
drop(PayTokenCache *cache)
{
	explicit_bzero(cache->text, sizeof(cache->text));
}
