/*
 * test/unit/test_token.c
 *		If this fails, a PSP that wants a token gets one that has ended, is asked
 *		for tokens without end, or is halted because one ended early.
 */
// sources: ../../src/worker/token.c
#include "payments.h"

#include "worker/token.h"

#include "tap.h"

#include <string.h>

#define S USECS_PER_SEC
#define NOW (INT64CONST(1000000) * S)

static bool
got(PayTokenCache *cache, const char *text, int valid_s, TimestampTz now)
{
	PayToken	token = {unconstify(char *, text), valid_s};

	pay_token_asked(cache);
	return pay_token_got(cache, &token, now);
}

static void
test_life(void)
{
	PayTokenCache cache = {0};

	OK(!pay_token_usable(&cache, NOW) && pay_token_due(&cache) <= NOW, "none at first: asked for at once");
	pay_token_asked(&cache);
	OK(pay_token_due(&cache) == DT_NOEND, "by one request at a time");
	OK(got(&cache, "one", 3600, NOW) && strcmp(cache.text, "one") == 0, "a token comes");
	OK(pay_token_usable(&cache, NOW) && pay_token_usable(&cache, NOW + 3599 * S) && !pay_token_usable(&cache, NOW + 3600 * S), "it serves until it ends");
	OK(pay_token_due(&cache) == NOW + 3240 * S, "the next is asked for in the last tenth of its life");
	pay_token_asked(&cache);
	OK(pay_token_usable(&cache, NOW + 3300 * S), "while it is asked for, the old one serves");
	OK(got(&cache, "two", 100, NOW) && pay_token_due(&cache) == NOW + 50 * S, "of a short one, in its second half");
	OK(got(&cache, "three", 300, NOW) && pay_token_due(&cache) == NOW + 240 * S, "or its last minute");
	OK(got(&cache, "four", PG_INT32_MAX, NOW) && cache.ends_at == NOW + INT64CONST(604800) * S, "none is kept longer than a week");
}

static void
test_failures(void)
{
	PayTokenCache cache = {0};
	char		text[PAY_TOKEN_BYTES_MAX + 2];

	memset(text, 'x', sizeof(text));
	text[PAY_TOKEN_BYTES_MAX] = '\0';
	OK(got(&cache, text, 60, NOW), "8,000 bytes fit");
	pay_token_forget(&cache);
	text[PAY_TOKEN_BYTES_MAX] = 'x';
	text[PAY_TOKEN_BYTES_MAX + 1] = '\0';
	OK(!got(&cache, text, 60, NOW), "8,001 do not");
	OK(!got(&cache, "", 60, NOW) && !got(&cache, NULL, 60, NOW), "an empty one is none");
	OK(!got(&cache, "a b", 60, NOW) && !got(&cache, "a\r\nX-Other: 1", 60, NOW) && !got(&cache, "\xc3\xa9", 60, NOW), "nor one that would break a header");
	OK(!got(&cache, "fine", 0, NOW) && !got(&cache, "fine", -5, NOW), "nor one that has ended");
	OK(!pay_token_usable(&cache, NOW), "none of them is used");

	pay_token_forget(&cache);
	pay_token_asked(&cache);
	pay_token_failed(&cache, -1, NOW);
	OK(pay_token_due(&cache) == NOW + 1 * S, "after a failure, the next try waits");
	pay_token_asked(&cache);
	pay_token_failed(&cache, -1, NOW);
	OK(pay_token_due(&cache) == NOW + 2 * S, "longer each time");
	for (int i = 0; i < 50; i++)
		pay_token_failed(&cache, -1, NOW);
	OK(pay_token_due(&cache) == NOW + 60 * S, "up to a minute");
	pay_token_asked(&cache);
	pay_token_put_off(&cache, NOW);
	OK(pay_token_due(&cache) == NOW + 1 * S, "what we could not ask for is asked for soon,");
	pay_token_failed(&cache, -1, NOW);
	OK(pay_token_due(&cache) == NOW + 60 * S, "and does not count as a failure");
	pay_token_failed(&cache, 600, NOW);
	OK(pay_token_due(&cache) == NOW + 600 * S, "or as long as the PSP says");
	pay_token_failed(&cache, 24 * 60 * 60, NOW);
	OK(pay_token_due(&cache) == NOW + 3600 * S, "but for an hour at most");
	OK(got(&cache, "fine", 3600, NOW) && cache.failures == 0, "until one comes");
	pay_token_asked(&cache);
	pay_token_failed(&cache, -1, NOW);
	OK(pay_token_usable(&cache, NOW + 3000 * S), "a renewal that fails leaves the old one in force");
}

static void
test_refusals(void)
{
	PayTokenCache cache = {0};
	int64		first,
				second;

	got(&cache, "first", 3600, NOW);
	first = cache.serial;
	OK(pay_token_answered(&cache, first, 200) == PAY_TOKEN_HONOURED && pay_token_answered(&cache, first, 402) == PAY_TOKEN_HONOURED &&
	   pay_token_answered(&cache, first, 0) == PAY_TOKEN_HONOURED, "any answer but 401 says nothing against it");
	OK(pay_token_answered(&cache, first, 401) == PAY_TOKEN_ENDED, "401: it has ended");
	OK(!pay_token_usable(&cache, NOW) && pay_token_due(&cache) <= NOW, "and another is asked for at once");
	OK(pay_token_answered(&cache, first, 401) == PAY_TOKEN_ENDED, "what was in flight with it as well says no more");
	got(&cache, "second", 3600, NOW);
	second = cache.serial;
	OK(second != first && pay_token_answered(&cache, first, 401) == PAY_TOKEN_ENDED && pay_token_usable(&cache, NOW), "nor does it later: the new one stays");
	OK(pay_token_answered(&cache, second, 0) == PAY_TOKEN_HONOURED && pay_token_answered(&cache, second, 401) == PAY_TOKEN_REFUSED, "401 to the new one too: our credentials are no good");
	OK(!pay_token_usable(&cache, NOW), "it is not used again");
	got(&cache, "third", 3600, NOW);
	OK(pay_token_answered(&cache, cache.serial, 401) == PAY_TOKEN_REFUSED, "nor does a third change that");
	got(&cache, "fourth", 3600, NOW);
	OK(pay_token_answered(&cache, cache.serial, 200) == PAY_TOKEN_HONOURED && pay_token_answered(&cache, cache.serial, 401) == PAY_TOKEN_ENDED, "one that was honoured may end");
}

static void
test_forget(void)
{
	PayTokenCache cache = {0};
	PayToken	late = {"late", 3600};

	got(&cache, "old", 3600, NOW);
	pay_token_asked(&cache);
	pay_token_forget(&cache);
	OK(!pay_token_usable(&cache, NOW) && memchr(cache.text, 'o', sizeof(cache.text)) == NULL, "another secret: the token is gone");
	OK(pay_token_due(&cache) == DT_NOEND, "the request for the next is still in flight");
	OK(!pay_token_got(&cache, &late, NOW) && !pay_token_usable(&cache, NOW), "what it brings is for the old secret");
	OK(pay_token_due(&cache) <= NOW && cache.failures == 0, "so another is asked for at once");
	OK(got(&cache, "new", 3600, NOW), "and that one is used");
}

int
main(void)
{
	test_life();
	test_failures();
	test_refusals();
	test_forget();
	return tap_done();
}
