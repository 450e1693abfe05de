/*
 * src/psp/psp.h
 *		The adapter interface: what a PSP plug-in is asked, and what it answers.
 *
 * An adapter is pure: bytes and plain structs in, bytes and plain structs out,
 * allocated in the current memory context.  No SPI, no curl, no globals, no
 * clock.  That makes it unit-testable and fuzzable, and it makes promise 2
 * (same request, same bytes, for ever) a property one can read off the code.
 */
#ifndef PAY_PSP_H
#define PAY_PSP_H

#include "base/json_slice.h"

/* One command to a PSP on behalf of a payment.  Spelled as in operation.kind. */
typedef enum PayOpKind
{
	PAY_OP_CHARGE,
	PAY_OP_AUTHORIZE,
	PAY_OP_CAPTURE,
	PAY_OP_VOID,
	PAY_OP_REFUND
} PayOpKind;

/* How an answer is to be treated; design.md section 5.  Spelled as in decline_rule.class. */
typedef enum PayClass
{
	PAY_CLASS_APPROVED,
	PAY_CLASS_PENDING,			/* accepted, result comes later */
	PAY_CLASS_REQUIRES_ACTION,	/* the payer must do something first */
	PAY_CLASS_DECLINED,			/* never retry */
	PAY_CLASS_RETRY_LATER,		/* soft decline */
	PAY_CLASS_NOT_SENT,			/* certainly not processed: same key, same bytes, later */
	PAY_CLASS_UNKNOWN,			/* may have been processed: inquire */
	PAY_CLASS_MISCONFIGURED,	/* not processed, and nothing will be until a person acts */
	PAY_CLASS_DUPLICATE,		/* the PSP says it did this before: inquire */
	PAY_CLASS_CONFLICTED		/* amount or currency differ from what we asked */
} PayClass;

/* What an approved (or late) result says has happened to the money. */
typedef enum PayEffect
{
	PAY_EFFECT_NONE,
	PAY_EFFECT_AUTHORIZED,
	PAY_EFFECT_CAPTURED,
	PAY_EFFECT_VOIDED,
	PAY_EFFECT_REFUNDED,
	PAY_EFFECT_REFUND_FAILED,	/* also of a refund that had succeeded before */
	PAY_EFFECT_DISPUTED,
	PAY_EFFECT_DISPUTE_WON
} PayEffect;

/* What the adapter may know of an operation: the client's request and the PSP's own ids, nothing else (promise 2). */
typedef struct PayCommand
{
	PayOpKind	kind;
	int64		amount;			/* in the PSP's units: the caller rescales, both ways */
	const char *currency;		/* upper case */
	int			exponent;		/* ISO 4217 */
	const char *payment_method; /* the rest may be NULL */
	const char *customer;
	const char *order_ref;
	const char *description;
	const char *return_url;
	const char *reason;
	bool		off_session;
	const char *psp_ref;		/* names the operation at the PSP; base32, same for all generations */
	int			generation;		/* from 1; a new one only after a definite decline */
	const char *psp_payment_id; /* the PSP's id of the payment, once known */
	const char *psp_object_id;	/* the PSP's id of this operation (a refund), once known */
	int64		captured;		/* of the payment, for the sandbox's refund check */
} PayCommand;

/* One HTTP request as the adapter wants it; the worker adds base URL, authorization and key header. */
typedef struct PayRequest
{
	const char *method;			/* "GET" or "POST" */
	const char *path;			/* from "/" on, escaped */
	const char *content_type;	/* NULL without a body */
	const char *body;			/* NUL-terminated text, NULL without a body */
} PayRequest;

/* How the exchange ended, before anybody looked at the body. */
typedef enum PayTransport
{
	PAY_TRANSPORT_ANSWERED,		/* status line, headers and whole body are here */
	PAY_TRANSPORT_NOT_SENT,		/* no byte of the request can have reached the PSP */
	PAY_TRANSPORT_LOST			/* anything else: it may have been processed */
} PayTransport;

typedef struct PayAnswer
{
	PayTransport transport;
	int			http_status;	/* 0 unless answered */
	const char *body;			/* NUL-terminated, may also contain NULs; never NULL */
	size_t		body_bytes;
	int			should_retry;	/* 1 true, 0 false, -1 not said */
	int			retry_after_s;	/* -1 not said */
} PayAnswer;

#define PAY_CODES_MAX 4

/* What an answer, an inquiry or a webhook says, in our words. */
typedef struct PayResult
{
	PayClass	class;
	PayEffect	effect;
	int64		amount;			/* of the effect, in the PSP's units */
	const char *currency;		/* upper case */
	const char *object_id;		/* PSP's id of the thing that moved money: unique with (psp, effect) */
	const char *psp_payment_id; /* PSP's id of the payment */
	const char *psp_ref;		/* our name of the operation, where the PSP returned it */
	int			generation;		/* likewise, 0 = not said */
	int64		fee;			/* 0 = none or not known yet */
	const char *fee_currency;
	const char *fee_object_id;
	const char *codes[PAY_CODES_MAX];	/* PSP's codes, most binding first, looked up in decline_rule; NULL-terminated if fewer */
	const char *message;		/* for people, without secrets or card data; may be NULL */
	const char *next_action_url;
	int			retry_after_ms; /* -1 not said */
	bool		inquiry_found_nothing;	/* of an inquiry: the PSP has no such object (no proof unless time has passed) */
} PayResult;

typedef struct PayWebhook
{
	const char *event_id;
	const char *event_type;
	bool		relevant;		/* false: stored, nothing to apply */
	PayResult	result;
} PayWebhook;

/* What the pages of a feed hold. */
typedef enum PayFeedKind
{
	PAY_FEED_LINES,				/* rows for import_settlement() */
	PAY_FEED_EVENTS				/* events, as parse_event() reads them */
} PayFeedKind;

#define PAY_FEED_PAGE_MAX 100

/* One page of what the PSP created from `from` to below `to`, newest first. */
typedef struct PayFeedQuery
{
	int64		from;			/* whole seconds since 1970 */
	int64		to;
	const char *cursor;			/* id of the last entry of the page before; NULL: the first page */
	int			limit;			/* at most PAY_FEED_PAGE_MAX */
} PayFeedQuery;

typedef struct PayFeedPage
{
	int			n;
	const char *ids[PAY_FEED_PAGE_MAX];	/* the PSP's own, by which entries that come again are known */
	PaySlice	entries[PAY_FEED_PAGE_MAX]; /* in the body */
	bool		more;			/* another page follows */
} PayFeedPage;

/* A list that the PSP's API offers, to be read window by window. */
typedef struct PayFeed
{
	const char *name;
	PayFeedKind kind;
	const char *format;			/* of lines: the settlement format */
	void		(*build) (const PayFeedQuery *query, PayRequest *request);
	/* Takes a body apart; what cannot be read in place of an escape is overwritten.  False with *problem set when it is no such list. */
	bool		(*read_page) (char *body, size_t body_bytes, PayFeedPage *page, const char **problem);
} PayFeed;

typedef enum PaySignature
{
	PAY_SIGNATURE_OK,
	PAY_SIGNATURE_MISSING,
	PAY_SIGNATURE_MALFORMED,
	PAY_SIGNATURE_WRONG,
	PAY_SIGNATURE_TOO_OLD,
	PAY_SIGNATURE_AHEAD
} PaySignature;

typedef struct PayAdapter
{
	const char *name;
	bool		in_process;		/* answers without HTTP (sandbox): `answer` is set, the rest of the HTTP side is not used */
	bool		fee_by_inquiry;	/* answers and inquiries tell the fee of a capture, webhooks do not */
	int			key_valid_s;	/* how long after the first send the PSP surely honours a key */
	const char *key_header;		/* name of the idempotency header */
	const char *signature_header;	/* lower case; NULL: no webhooks */
	const char *default_base_url;

	/* Builds the request that performs the command.  Returns false with *problem set when the PSP cannot do it. */
	bool		(*build) (const PayCommand *command, PayRequest *request, const char **problem);
	/* Builds the request that asks what became of it.  Returns false when there is nothing to ask with. */
	bool		(*build_inquiry) (const PayCommand *command, PayRequest *request);
	/* Extra fixed headers, NULL-terminated list of "Name: value". */
	const char *const *headers;
	/* Reads an answer to build()'s or build_inquiry()'s request.  Never raises for what the PSP wrote; what it cannot read is PAY_CLASS_UNKNOWN. */
	void		(*classify) (const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
	/* In-process adapters only: answers the command.  `inquiry` asks what became of it. */
	void		(*perform) (const PayCommand *command, bool inquiry, PayResult *result);
	/* Checks the signature header's value over the raw body with a clock given by the caller. */
	PaySignature (*verify) (const char *header, const char *secret, const char *body, size_t body_bytes, int64 now_unix);
	/* Reads a verified body.  Returns false when it is not an event at all. */
	bool		(*parse_event) (const char *body, size_t body_bytes, PayWebhook *webhook);
	/* Lists that the worker reads by itself. */
	const PayFeed *feeds;
	int			n_feeds;
} PayAdapter;

extern const PayAdapter pay_adapter_sandbox;
extern const PayAdapter pay_adapter_stripe;

/* Returns the built-in adapter of that name, or NULL. */
extern const PayAdapter *pay_psp_adapter(const char *name);

/* The adapter's feed of that name, or NULL. */
extern const PayFeed *pay_psp_feed(const PayAdapter *adapter, const char *name);

/* Spellings, and back; the parsers return false for an unknown word. */
extern const char *pay_op_kind_name(PayOpKind kind);
extern bool pay_op_kind_parse(const char *name, PayOpKind *kind);
extern const char *pay_class_name(PayClass class);
extern bool pay_class_parse(const char *name, PayClass *class);
extern const char *pay_effect_name(PayEffect effect);

#endif							/* PAY_PSP_H */
