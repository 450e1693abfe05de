/*
 * src/psp/stripe_feed.c
 *		Stripe: balance transactions and events as lists, page by page.
 *
 * Both lists are newest first, are filtered by `created` in whole seconds, and
 * go on behind an id.  A window [from, to) that has ended and whole seconds
 * keep entries of one second together.
 *
 * A page is taken apart without being parsed: see json_slice.h.
 */
#include "payments.h"

#include "psp/psp.h"
#include "psp/stripe.h"

#include "base/json.h"
#include "base/json_slice.h"

#define ID_BYTES_MAX 255

static void build_settlement(const PayFeedQuery *query, PayRequest *request);
static void build_events(const PayFeedQuery *query, PayRequest *request);
static void add_window(StringInfo form, const PayFeedQuery *query);
static bool read_page(char *body, size_t body_bytes, PayFeedPage *page, const char **problem);
static const char *refusal(const char *body, size_t body_bytes);
static const char *id_of(PaySlice entry);

const PayFeed pay_stripe_feeds[PAY_STRIPE_FEEDS] = {
	{"events", PAY_FEED_EVENTS, NULL, build_events, read_page, refusal, pay_stripe_read_event},
	{"settlement", PAY_FEED_LINES, "stripe_api", build_settlement, read_page, refusal, NULL},
};

/* The source says which PaymentIntent, and carries our reference. */
static void
build_settlement(const PayFeedQuery *query, PayRequest *request)
{
	StringInfoData form;

	initStringInfo(&form);
	add_window(&form, query);
	pay_stripe_form_add(&form, "expand[]", "data.source");
	request->method = "GET";
	request->path = psprintf("/v1/balance_transactions?%s", form.data);
	request->content_type = NULL;
	request->body = NULL;
}

/* Only what read_event() has a use for: an account's other events are many. */
static void
build_events(const PayFeedQuery *query, PayRequest *request)
{
	StringInfoData form;
	const char *type;

	initStringInfo(&form);
	add_window(&form, query);
	for (int i = 0; i < PAY_STRIPE_TYPES_MAX && (type = pay_stripe_event_type(i)) != NULL; i++)
		pay_stripe_form_add(&form, "types[]", type);
	request->method = "GET";
	request->path = psprintf("/v1/events?%s", form.data);
	request->content_type = NULL;
	request->body = NULL;
}

static void
add_window(StringInfo form, const PayFeedQuery *query)
{
	pay_stripe_form_add_int64(form, "limit", query->limit);
	pay_stripe_form_add_int64(form, "created[gte]", query->from);
	pay_stripe_form_add_int64(form, "created[lt]", query->to);
	pay_stripe_form_add(form, "starting_after", query->cursor);
}

static bool
read_page(char *body, size_t body_bytes, PayFeedPage *page, const char **problem)
{
	PaySlice	whole = {body, body_bytes},
				value,
				list;
	PaySliceResult result;
	size_t		at = 0;

	page->n = 0;
	page->more = false;
	pay_slice_clean(body, body_bytes);
	*problem = "the answer is not a list";
	if (pay_slice_member(whole, "object", &value) != PAY_SLICE_FOUND || !pay_slice_is(value, "\"list\"") ||
		pay_slice_member(whole, "data", &list) != PAY_SLICE_FOUND ||
		pay_slice_member(whole, "has_more", &value) != PAY_SLICE_FOUND)
		return false;
	/* Taken for an end, anything else would leave a gap. */
	page->more = pay_slice_is(value, "true");
	if (!page->more && !pay_slice_is(value, "false"))
		return false;
	for (;;)
	{
		PaySlice	entry;
		const char *id;

		result = pay_slice_element(list, &at, &entry);
		if (result != PAY_SLICE_FOUND)
			break;
		if (page->n == PAY_FEED_PAGE_MAX)
		{
			*problem = "the list has more entries than were asked for";
			return false;
		}
		id = id_of(entry);
		if (id == NULL)
		{
			*problem = "an entry of the list has no id";
			return false;
		}
		page->ids[page->n] = id;
		page->entries[page->n++] = entry;
	}
	if (result == PAY_SLICE_BROKEN)
		return false;
	if (page->more && page->n == 0)
	{
		*problem = "the list is empty and says that it goes on";
		return false;
	}
	return true;
}

static const char *
refusal(const char *body, size_t body_bytes)
{
	Jsonb	   *json = pay_json_parse(body, body_bytes);
	const char *code = json ? pay_json_text(json, "error.code") : NULL;

	return json && code == NULL ? pay_json_text(json, "error.type") : code;
}

static const char *
id_of(PaySlice entry)
{
	PaySlice	value;
	char	   *id;

	if (pay_slice_member(entry, "id", &value) != PAY_SLICE_FOUND || value.bytes < 3 || value.bytes > ID_BYTES_MAX + 2 || value.at[0] != '"')
		return NULL;
	id = pnstrdup(value.at + 1, value.bytes - 2);
	return pay_stripe_is_id(id) ? id : NULL;
}
