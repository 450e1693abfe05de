/*
 * src/psp/psp.h
 *		The adapter interface: what a PSP plug-in is asked, and what it answers.
 *
 * An adapter is pure: bytes and plain structs in, bytes and plain structs out,
 * allocated in the current memory context.  No SPI, no curl, no globals, no
 * clock.  That makes it unit-testable and fuzzable, and it makes promise 2
 * (same request, same bytes, for ever) a property one can read off the code.
 *
 * Nothing here is one PSP's; what is stays in its own files (ci/dialect).
 * docs/adapter.md goes through the questions one by one.
 */
#ifndef PAY_PSP_H
#define PAY_PSP_H

#include "base/header.h"
#include "base/json_slice.h"
#include "base/transport.h"

/* One command to a PSP on behalf of a payment.  Spelled as in operation.kind. */
typedef enum PayOpKind
{
	PAY_OP_CHARGE,
	PAY_OP_AUTHORIZE,
	PAY_OP_CAPTURE,
	PAY_OP_VOID,				/* of a payment that is captured in part: gives back the rest of what was authorized */
	PAY_OP_REFUND,
	PAY_OP_PAYOUT,				/* sends money of ours out */
	PAY_OP_EXPIRE				/* only ever asks: has the PSP given up the authorization? */
} PayOpKind;

#define PAY_OP_LAST PAY_OP_EXPIRE

/* What the PSP can do, of what we know to ask for: declared, not found out.  The verbs refuse the rest before anything is written. */
typedef enum PayAbility
{
	PAY_CAN_CHARGE = 1 << PAY_OP_CHARGE,
	PAY_CAN_AUTHORIZE = 1 << PAY_OP_AUTHORIZE,
	PAY_CAN_CAPTURE = 1 << PAY_OP_CAPTURE,
	PAY_CAN_VOID = 1 << PAY_OP_VOID,
	PAY_CAN_REFUND = 1 << PAY_OP_REFUND,
	PAY_CAN_PAYOUT = 1 << PAY_OP_PAYOUT,
	PAY_CAN_CAPTURE_PART = 1 << 8,	/* less than was authorized; the rest is released */
	PAY_CAN_REFUND_PART = 1 << 9,	/* less than was captured, several times */
	PAY_CAN_CAPTURE_MANY = 1 << 10,	/* a capture may leave the rest authorized, for further ones */
	PAY_CAN_VOID_IN_DOUBT = 1 << 16 /* by our reference, while the PSP's id of the payment is not known */
} PayAbility;

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
	PAY_EFFECT_DISPUTE_WON,
	PAY_EFFECT_DISPUTE_LOST,	/* with the amount that was taken: it may be the first word of the dispute */
	PAY_EFFECT_DISPUTE_STAGE,	/* moves no money: how far the dispute is, and until when something is to be done */
	PAY_EFFECT_EXPIRED,			/* the PSP has given up what was authorized and not captured, by itself; with DECLINED, of a capture that came too late */
	PAY_EFFECT_PAID_OUT,
	PAY_EFFECT_PAYOUT_FAILED	/* also of a payout that had been paid */
} PayEffect;

/* What the adapter may know of an operation: the client's request and the PSP's own ids, nothing else (promise 2). */
typedef struct PayCommand
{
	PayOpKind	kind;
	int64		amount;			/* in the PSP's units: the caller rescales, both ways */
	const char *currency;		/* upper case */
	int			exponent;		/* of these units: the amount has so many decimals */
	const char *payment_method; /* of a payout: where it goes; the rest may be NULL */
	const char *customer;
	const char *order_ref;
	const char *description;
	const char *return_url;
	const char *reason;
	bool		off_session;
	const char *psp_ref;		/* names the operation at the PSP; base32, same for all generations */
	int			generation;		/* from 1; a new one only after a definite decline */
	int			step;			/* from 1; the next when the PSP said so, see PayResult.next_step */
	const char *made_ref;		/* of what follows the payment's first operation: that one's psp_ref, kind and generation */
	PayOpKind	made_kind;
	int			made_generation;
	const char *psp_payment_id; /* the PSP's id of the payment, once known */
	const char *psp_object_id;	/* the PSP's id of this operation (a refund), once known */
	const char *target_id;		/* the PSP's id of what this works on, once known: of a refund the capture, of a capture or void the authorization */
	int64		captured;		/* of the payment so far; of a void: above zero, only the rest is given back */
	bool		keep_rest;		/* of a capture: what it leaves stays authorized, for further ones */
	const char *destination;	/* of a payout: the PSP's name of where it goes, which payment_method says, too */
	const char *config;			/* JSON text of psp.config, NULL: empty */
} PayCommand;

/* One HTTP request as the adapter wants it; base URL and headers come on top. */
typedef struct PayRequest
{
	const char *method;			/* "GET", "POST", ... */
	const char *path;			/* from "/" on, escaped */
	const char *content_type;	/* NULL without a body */
	const char *body;			/* NUL-terminated text, NULL without a body */
} PayRequest;

#define PAY_HEADERS_MAX 16

/* Headers of a request, "Name: value", the last followed by NULL; palloc'd. */
typedef struct PayHeaders
{
	int			n;
	int			n_secret;		/* so many, from the first, say who we are */
	char	   *list[PAY_HEADERS_MAX + 1];
} PayHeaders;

/* What authorize() may use, and nobody else sees. */
typedef struct PayCredentials
{
	const char *secret;			/* of the secrets file, as it stands there */
	const char *token;			/* of read_token(); NULL in the request for one, and of an adapter without */
	int64		now;			/* seconds since 1970, for what is signed with a time */
} PayCredentials;

/* What read_token() found. */
typedef struct PayToken
{
	char	   *text;			/* palloc'd; the caller overwrites it */
	int			valid_s;		/* from now on */
} PayToken;

#define PAY_REQUEST_ID_BYTES 64

typedef struct PayAnswer
{
	PayTransport transport;
	int			http_status;	/* 0 unless answered */
	const char *body;			/* NUL-terminated, may also contain NULs; never NULL */
	size_t		body_bytes;
	int			retry_after_s;	/* Retry-After: -1 not said */

	/* For read_header() to fill. */
	int			should_retry;	/* the PSP's own word for it, if it has one: 1 true, 0 false, -1 not said */
	bool		of_one_object;	/* a refusal for too many calls means one object, and not how often we call */
	char		request_id[PAY_REQUEST_ID_BYTES];	/* for the PSP's support, "" if none */
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
	int			next_step;		/* with PAY_CLASS_PENDING: this one is done, and the operation goes on with the request of that step; 0: not said */
	bool		too_many;		/* it is called too often, and says nothing of this operation but what `class` says */
	bool		keeps_rest;		/* of CAPTURED: what is left stays authorized, and may be captured yet */
	int64		capture_before;	/* of AUTHORIZED: the PSP gives it up at this time, seconds since 1970; 0 not said */
	const char *dispute_stage;	/* of a dispute, in our words; NULL not said: see the table dispute_stage */
	int64		evidence_due;	/* likewise: until then something is to be done, seconds since 1970; 0 not said */
	bool		inquiry_found_nothing;	/* of an inquiry: the PSP has no such object (no proof unless time has passed) */
} PayResult;

/* Who calls, or who is told.  What is not known is NULL, and differs from nothing. */
typedef struct PayAccount
{
	const char *id;				/* the PSP's name of our account */
	const char *mode;			/* "live", or "test" where the same account also has trial objects */
} PayAccount;

/* One event. */
typedef struct PayPspEvent
{
	const char *event_id;		/* by which it is known when it comes again */
	const char *event_type;
	bool		relevant;		/* false: stored, nothing to apply */
	const char *unreadable;		/* of a type that moves money, and not relevant: the member that could not be read; else NULL */
	PayAccount	account;		/* whose it says that it is */
	PayResult	result;
	PaySlice	raw;			/* its own part of the body; { NULL, 0 }: all of it */
} PayPspEvent;

/* A PSP's request to us, as the application took it. */
typedef struct PayInbound
{
	const PayHeader *headers;
	int			n_headers;
	const char *body;			/* raw; NUL-terminated, may also contain NULs */
	size_t		body_bytes;
	const char *config;			/* JSON text of psp.config, NULL: empty */

	/* Noted by pay_inbound_header(), for messages: names that were looked for. */
	const char *absent;
	const char *unusable;		/* there twice, or not as one string */
} PayInbound;

/* Is it the PSP's word? */
typedef enum PayVerdict
{
	PAY_VERDICT_OK,
	PAY_VERDICT_MISSING,		/* not signed */
	PAY_VERDICT_MALFORMED,
	PAY_VERDICT_WRONG,
	PAY_VERDICT_TOO_OLD,
	PAY_VERDICT_AHEAD,
	PAY_VERDICT_ASK_PSP			/* nobody can tell: the event is a hint, and the PSP is asked */
} PayVerdict;

/* So many events a request may bring. */
#define PAY_EVENTS_MAX 1000

typedef struct PayEvents
{
	int			n;				/* 0: nothing to apply, such as a trial of the endpoint */
	PayPspEvent *list;
	const char *reply;			/* body of the answer that the PSP waits for; NULL: any 2xx will do */
	const char *field;			/* when it is none: which field is missing, or not as expected; NULL: not said */
} PayEvents;

/* What the pages of a feed hold. */
typedef enum PayFeedKind
{
	PAY_FEED_LINES,				/* rows for import_settlement() */
	PAY_FEED_EVENTS				/* events, as read_event() reads them */
} PayFeedKind;

#define PAY_FEED_PAGE_MAX 100

/* One page of what the PSP created from `from` to below `to`, newest first. */
typedef struct PayFeedQuery
{
	int64		from;			/* whole seconds since 1970 */
	int64		to;
	const char *cursor;			/* PayFeedPage.next, or the id of the last entry, of the page before; NULL: the first page */
	int			limit;			/* at most PAY_FEED_PAGE_MAX */
} PayFeedQuery;

typedef struct PayFeedPage
{
	int			n;
	const char *ids[PAY_FEED_PAGE_MAX];	/* the PSP's own, by which entries that come again are known */
	PaySlice	entries[PAY_FEED_PAGE_MAX]; /* in the body */
	bool		more;			/* another page follows */
	const char *next;			/* its cursor; NULL: the id of the last entry */
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
	/* The PSP's word for why it gave no page, NULL if it has none. */
	const char *(*refusal) (const char *body, size_t body_bytes);
	/* Of events: reads an entry; false when it is no event. */
	bool		(*read_event) (const char *entry, size_t bytes, PayPspEvent *event);
} PayFeed;

typedef struct PayAdapter
{
	/* ---------- data ---------- */

	const char *name;
	unsigned	can;			/* PayAbility */
	bool		in_process;		/* answers without HTTP (sandbox): `perform` is set, and nothing else below is used */
	bool		capture_is_payment;	/* a capture is no object of its own: its id is the payment's, and its amount all that was captured so far */
	bool		payment_is_order;	/* the id of a payment names no money: what charges or authorizes is an object of its own */
	bool		fee_by_inquiry;	/* answers and inquiries tell the fee of a capture, webhooks do not */
	bool		no_inquiry;		/* it cannot be asked about what build_inquiry() refuses: that is sent again under its key, then waited for */
	int			authorization_valid_s;	/* so long an authorization holds where the PSP does not say until when; 0: nobody knows */
	int			charge_steps;	/* so many requests make a charge or authorization; where the PSP says that the payer must act, nothing moves before the last is sent.  Else the first may.  0: one */
	int			key_valid_s;	/* how long after the first send the PSP surely honours a key; 0: it knows none */
	int			follow_key_valid_s; /* the same of captures, voids and refunds; 0: no other */
	const char *key_header;		/* the header that the key goes into; NULL: build() puts psp_ref where the PSP looks */
	const char *default_base_url;
	const char *const *headers; /* fixed ones, "Name: value"; NULL, or NULL-terminated */
	const char *const *secret_prefixes; /* what its secrets begin with, so that one typed into SQL is noticed; likewise */
	const char *const *config_keys; /* what it reads of create_psp()'s config; likewise, or NULL */
	const PayFeed *feeds;		/* lists that the worker reads by itself */
	int			n_feeds;
	const struct PayScheme *scheme; /* declared, see psp/scheme.h: it answers in place of authorize, read_header and verify; NULL: they do */
	struct PayFunctions *functions; /* SQL functions, see payment/adapter.h: they answer in place of build, build_inquiry, classify and parse; NULL: these do */

	/* ---------- requests ---------- */

	/* Builds the request that performs the command.  Returns false with *problem set when it cannot be. */
	bool		(*build) (const PayCommand *command, PayRequest *request, const char **problem);
	/* Builds the request that asks what became of it.  Returns false when there is nothing to ask with. */
	bool		(*build_inquiry) (const PayCommand *command, PayRequest *request);
	/* Could that be the PSP's id of what such an operation makes?  A person has typed it.  NULL: any could. */
	bool		(*is_object_id) (PayOpKind kind, const char *id);
	/* Of a payout to there: does the money stay at the PSP, on another account?  NULL: never. */
	bool		(*stays_at_psp) (const char *destination);
	/* What such an id looks like, and where the PSP's pages have it: a sentence for whoever has typed another.  NULL: nothing to say. */
	const char *(*object_id_hint) (PayOpKind kind);
	/* Adds the headers that say who we are; see pay_headers_add(). */
	void		(*authorize) (const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers);
	/* Of a PSP that wants a token: builds the request for one, which authorize() then signs without; and reads the answer. */
	void		(*build_token) (const char *secret, PayRequest *request);
	bool		(*read_token) (const PayAnswer *answer, PayToken *token);

	/* Of a PSP that says whose account the secret is of: builds the question, a GET without effect; and reads any answer to it. */
	void		(*build_account) (PayRequest *request);
	void		(*read_account) (const PayAnswer *answer, const char *secret, PayAccount *account);

	/* ---------- answers ---------- */

	/* Looks at one header of an answer.  Called from within curl: it must neither allocate nor raise.  May be NULL. */
	void		(*read_header) (const PayHeader *header, PayAnswer *answer);
	/* Reads an answer to build()'s or build_inquiry()'s request.  Never raises for what the PSP wrote; what it cannot read is PAY_CLASS_UNKNOWN. */
	void		(*classify) (const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
	/* In-process adapters only: answers the command.  `inquiry` asks what became of it. */
	void		(*perform) (const PayCommand *command, bool inquiry, PayResult *result);

	/* ---------- what comes unasked ---------- */

	/* NULL: it sends nothing.  `secrets` is NULL-terminated, and more than one while they are changed; with none there is no OK. */
	PayVerdict	(*verify) (PayInbound *inbound, const char *const *secrets, int64 now);
	/* Reads what was verified.  False when these are no events at all. */
	bool		(*parse) (const PayInbound *inbound, PayEvents *events);
} PayAdapter;

/* Each of adapters.h. */
#define PAY_ADAPTER(NAME) extern const PayAdapter pay_adapter_##NAME;
#include "psp/adapters.h"
#undef PAY_ADAPTER

/* Returns the built-in adapter of that name, or NULL; and what there is, as "\"a\" and \"b\"". */
extern const PayAdapter *pay_psp_adapter(const char *name);
extern const char *pay_psp_adapter_names(void);

/* The adapter's feed of that name, or NULL. */
extern const PayFeed *pay_psp_feed(const PayAdapter *adapter, const char *name);

/* How long the PSP surely honours the key of such an operation, in seconds. */
extern int	pay_psp_key_valid_s(const PayAdapter *adapter, PayOpKind kind);

/* NULL, or what the PSP cannot do, as "it cannot ...".  `part`: less than there is. */
extern const char *pay_psp_refusal(const PayAdapter *adapter, PayOpKind kind, bool part);

/*
 * NULL, or why the entry of the secrets file of that name is not sent to that
 * address: it is one that signs, or the host is neither the adapter's own nor
 * listed.  `loopback`: may it be this machine?
 */
#define PAY_PSP_SECRET_HINT "If the host is the PSP's, a superuser adds it to payments.psp_hosts; secret names the entry of the key, of which NAME.webhook signs."
extern const char *pay_psp_secret_refusal(const PayAdapter *adapter, const char *secret, const char *base_url, const char *hosts, bool loopback);

/* Does the text begin as secrets of some adapter do? */
extern bool pay_psp_is_secret(const char *text);
/* Overwrites in place what follows such a beginning: PSPs spell a part of the key when they refuse it. */
extern void pay_psp_mask_secrets(char *text);

/* All headers of a request.  Without credentials all but the authorization; without a key none for it. */
extern void pay_psp_headers(const PayAdapter *adapter, const PayRequest *request, const PayCredentials *credentials,
							const char *psp_key, PayHeaders *headers);
extern void pay_headers_add(PayHeaders *headers, const char *name, const char *value);
/* The same of other questions that a scheme may answer; it does in psp/scheme.c. */
extern void pay_psp_read_header(const PayAdapter *adapter, const PayHeader *header, PayAnswer *answer);
extern bool pay_psp_wants_token(const PayAdapter *adapter);
extern void pay_psp_build_token(const PayAdapter *adapter, const char *secret, PayRequest *request);
extern bool pay_psp_read_token(const PayAdapter *adapter, const PayAnswer *answer, PayToken *token);
extern bool pay_psp_sends_events(const PayAdapter *adapter);
extern PayVerdict pay_psp_verify(const PayAdapter *adapter, PayInbound *inbound, const char *const *secrets, int64 now);
/* Overwrites them: one is the authorization. */
extern void pay_headers_wipe(PayHeaders *headers);

/* An answer of which nothing is known. */
extern void pay_answer_init(PayAnswer *answer);
/* Does the answer say, by its status, that there are too many calls?  `retry_after_s` as in PayAnswer. */
extern bool pay_psp_too_many(int http_status, int retry_after_s);
/* Likewise a result: PAY_CLASS_UNKNOWN. */
extern void pay_result_init(PayResult *result);

/* The value of a header, given in lower case; NULL when it is not there, or not once as one string. */
extern const char *pay_inbound_header(PayInbound *inbound, const char *name);

/* Do both say whose they are, and differ? */
extern bool pay_account_differs(const PayAccount *a, const PayAccount *b);

/* Spellings, and back; the parsers return false for an unknown word. */
extern const char *pay_op_kind_name(PayOpKind kind);
extern bool pay_op_kind_parse(const char *name, PayOpKind *kind);
extern const char *pay_class_name(PayClass class);
extern bool pay_class_parse(const char *name, PayClass *class);

#endif							/* PAY_PSP_H */
