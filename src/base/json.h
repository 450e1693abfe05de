/*
 * src/base/json.h
 *		Reading JSON that others wrote.
 *
 * Wraps the server's jsonb.  Never raises for bad input.
 */
#ifndef PAY_JSON_H
#define PAY_JSON_H

#include "utils/jsonb.h"

#define PAY_JSON_BYTES_MAX (1024 * 1024)
#define PAY_JSON_DEPTH_MAX 64
/* The server writes 1e100000 out in full: JSON of numbers like that is worth gigabytes. */
#define PAY_JSON_NUMBER_DIGITS_MAX 400

/* Parses a body; NULL when it is not JSON we accept (syntax, encoding, \u0000, depth, size, huge numbers).  Allocated in the current context. */
extern Jsonb *pay_json_parse(const char *body, size_t bytes);

/*
 * Values by path, steps separated by '.', array elements by number:
 * pay_json_text(j, "data.object.id").  Missing, JSON null or another type
 * gives NULL / false.  Results are palloc'd.
 */
extern char *pay_json_text(Jsonb *json, const char *path);	/* string values only */
extern bool pay_json_int64(Jsonb *json, const char *path, int64 *value);	/* whole numbers in range only */
extern bool pay_json_bool(Jsonb *json, const char *path, bool *value);
extern bool pay_json_exists(Jsonb *json, const char *path);	/* any type but null */
extern bool pay_json_is_object(Jsonb *json, const char *path);
extern int	pay_json_members(Jsonb *json, const char *path);	/* how many members an object has; 0 when it is none */

/* False when a number has more than PAY_JSON_NUMBER_DIGITS_MAX digits before or behind the point, written out. */
extern bool pay_json_numbers_are_short(Jsonb *json);
/* Among names, texts and numbers, unescaped. */
extern bool pay_json_holds_card_number(Jsonb *json);
/* json itself if it holds none, else a copy in which each is masked; a number becomes a text. */
extern Jsonb *pay_json_mask_card_numbers(Jsonb *json);
/* The same for a text, which may be NULL. */
extern const char *pay_text_mask_card_numbers(const char *text);
/*
 * The same for a body that others sent, whatever it is: *bytes of a copy.  JSON
 * that has one is written anew, since it may hide it behind escapes, in a number
 * with an exponent, or in a name that comes twice; and what is no JSON, but has
 * one behind escapes, without them.
 */
extern char *pay_body_mask_card_numbers(const char *body, size_t *bytes);

#endif							/* PAY_JSON_H */
