/*
 * src/psp/yookassa_feed.c
 *		YooKassa: its payments and refunds as lists, page by page.
 *
 * It lists objects, and no events: an entry tells how its object is now.  So an
 * entry is known by the object and its status, and one whose status has changed
 * is another.  `payments` and `refunds` go by the time of creation, and find what we
 * have no answer of; `captures` goes by the time of the capture, and finds what was
 * held for days, or captured by hand.
 *
 * The lists are newest first, and go on behind a cursor that the page tells.
 * What they hold was asked for with our key: it is believed, as a notice is not.
 */
#include "payments.h"

#include "psp/psp.h"
#include "psp/yookassa.h"

#include "base/json_slice.h"

#define CURSOR_BYTES_MAX 100
#define CURSOR_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

static void build_payments(const PayFeedQuery *query, PayRequest *request);
static void build_captures(const PayFeedQuery *query, PayRequest *request);
static void build_refunds(const PayFeedQuery *query, PayRequest *request);
static void build_list(const char *list, const char *by, const PayFeedQuery *query, PayRequest *request);
static bool read_page(char *body, size_t body_bytes, PayFeedPage *page, const char **problem);
static bool read_cursor(PaySlice whole, PayFeedPage *page);
static const char *entry_id(PaySlice entry);
static bool read_payment_event(const char *entry, size_t bytes, PayPspEvent *event);
static bool read_refund_event(const char *entry, size_t bytes, PayPspEvent *event);
static bool read_event(const char *kind, PaySlice entry, PayPspEvent *event);
static const char *refusal(const char *body, size_t body_bytes);

const PayFeed pay_yookassa_feeds[PAY_YOOKASSA_FEEDS] = {
	{"captures", PAY_FEED_EVENTS, NULL, build_captures, read_page, refusal, read_payment_event},
	{"payments", PAY_FEED_EVENTS, NULL, build_payments, read_page, refusal, read_payment_event},
	{"refunds", PAY_FEED_EVENTS, NULL, build_refunds, read_page, refusal, read_refund_event},
};

static void
build_payments(const PayFeedQuery *query, PayRequest *request)
{
	build_list("payments", "created_at", query, request);
}

static void
build_captures(const PayFeedQuery *query, PayRequest *request)
{
	build_list("payments", "captured_at", query, request);
}

static void
build_refunds(const PayFeedQuery *query, PayRequest *request)
{
	build_list("refunds", "created_at", query, request);
}

static void
build_list(const char *list, const char *by, const PayFeedQuery *query, PayRequest *request)
{
	request->method = "GET";
	request->path = psprintf("/v3/%s?%s.gte=%s&%s.lt=%s&limit=%d%s%s", list, by, pay_yookassa_moment(query->from), by, pay_yookassa_moment(query->to),
							 query->limit, query->cursor ? "&cursor=" : "", query->cursor ? query->cursor : "");
	request->content_type = NULL;
	request->body = NULL;
}

static bool
read_page(char *body, size_t body_bytes, PayFeedPage *page, const char **problem)
{
	PaySlice	whole = {body, body_bytes},
				type,
				list,
				entry;
	PaySliceResult result;
	size_t		at = 0;

	page->n = 0;
	pay_slice_clean(body, body_bytes);
	*problem = "the answer is not a list";
	if (pay_slice_member(whole, "type", &type) != PAY_SLICE_FOUND || !pay_slice_is(type, "\"list\"") ||
		pay_slice_member(whole, "items", &list) != PAY_SLICE_FOUND || !read_cursor(whole, page))
		return false;
	while ((result = pay_slice_element(list, &at, &entry)) == PAY_SLICE_FOUND)
	{
		const char *id = entry_id(entry);

		if (page->n == PAY_FEED_PAGE_MAX)
			*problem = "the list has more entries than were asked for";
		else if (id == NULL)
			*problem = "an entry of the list has no id";
		if (page->n == PAY_FEED_PAGE_MAX || id == NULL)
			return false;
		page->ids[page->n] = id;
		page->entries[page->n++] = entry;
	}
	if (result == PAY_SLICE_BROKEN)
		return false;
	if (page->more && page->n == 0)
		*problem = "the list is empty and says that it goes on";
	return !page->more || page->n > 0;
}

/* Taken for an end, one that cannot be read would leave a gap. */
static bool
read_cursor(PaySlice whole, PayFeedPage *page)
{
	PaySlice	value;
	char	   *cursor;
	PaySliceResult found = pay_slice_member(whole, "next_cursor", &value);

	page->more = false;
	page->next = NULL;
	if (found == PAY_SLICE_END || (found == PAY_SLICE_FOUND && pay_slice_is(value, "null")))
		return true;
	if (found == PAY_SLICE_BROKEN)
		return false;
	cursor = palloc(value.bytes + 1);
	if (!pay_slice_string(value, cursor) || *cursor == '\0' || strlen(cursor) > CURSOR_BYTES_MAX || cursor[strspn(cursor, CURSOR_CHARACTERS)] != '\0')
		return false;
	page->more = true;
	page->next = cursor;
	return true;
}

/* Other than a notice's: one that somebody has made up must not be taken for it. */
static const char *
entry_id(PaySlice entry)
{
	const char *id = pay_yookassa_member_word(entry, "id"),
			   *status = pay_yookassa_member_word(entry, "status");

	return pay_yookassa_is_id(id) && status ? psprintf("%s:%s", id, status) : NULL;
}

static bool
read_payment_event(const char *entry, size_t bytes, PayPspEvent *event)
{
	return read_event("payment", (PaySlice) {entry, bytes}, event);
}

static bool
read_refund_event(const char *entry, size_t bytes, PayPspEvent *event)
{
	return read_event("refund", (PaySlice) {entry, bytes}, event);
}

/* What is ours, by its names, and cannot be read is for a person; the shop's other sales are none of our business. */
static bool
read_event(const char *kind, PaySlice entry, PayPspEvent *event)
{
	PaySlice	metadata;
	bool		is_ours = pay_slice_member(entry, "metadata", &metadata) == PAY_SLICE_FOUND && pay_yookassa_member_word(metadata, "payments_ref") != NULL;

	memset(event, 0, sizeof(*event));
	event->event_id = entry_id(entry);
	if (event->event_id == NULL)
		return false;
	event->event_type = psprintf("%s.%s", kind, pay_yookassa_member_word(entry, "status"));
	event->relevant = pay_yookassa_read_unasked(*kind == 'r', entry, &event->result);
	if (is_ours && event->result.class == PAY_CLASS_UNKNOWN)
		event->unreadable = event->result.object_id ? "status" : "amount";
	return true;
}

static const char *
refusal(const char *body, size_t body_bytes)
{
	PaySlice	whole = {body, body_bytes};
	const char *type = pay_yookassa_member_word(whole, "type");

	return type && strcmp(type, "error") == 0 ? pay_yookassa_member_word(whole, "code") : NULL;
}
