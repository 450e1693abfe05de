/*
 * src/base/json_slice.h
 *		Taking a page of JSON apart without reading what is in it.
 *
 * Pure: no server, no memory of its own.  A slice is a piece of the text; that
 * brackets match and strings end is checked, the rest is left to whoever
 * parses the piece.  So one entry that cannot be read does not spoil the
 * others of its page, and each is stored byte for byte as it came.
 */
#ifndef PAY_JSON_SLICE_H
#define PAY_JSON_SLICE_H

#include <stdbool.h>
#include <stddef.h>

#define PAY_SLICE_DEPTH_MAX 64

typedef struct PaySlice
{
	const char *at;
	size_t		bytes;
} PaySlice;

typedef enum PaySliceResult
{
	PAY_SLICE_FOUND,
	PAY_SLICE_END,				/* there is no such member, or no further element */
	PAY_SLICE_BROKEN
} PaySliceResult;

/* Escapes that jsonb refuses (\u0000, halves of surrogate pairs) become \ufffd, in place. */
extern void pay_slice_clean(char *text, size_t bytes);
/* The value of an object's member; of several of that name the last, as jsonb takes it. */
extern PaySliceResult pay_slice_member(PaySlice object, const char *name, PaySlice *value) __attribute__((warn_unused_result));
/* The same for n members in one pass; .at of those that are not there is NULL.  False when the object is broken, or none. */
extern bool pay_slice_members(PaySlice object, const char *const *names, PaySlice *values, int n) __attribute__((warn_unused_result));
/* The elements of an array, one a call; *at is 0 before the first. */
extern PaySliceResult pay_slice_element(PaySlice array, size_t *at, PaySlice *element) __attribute__((warn_unused_result));
/* Is it this word, such as true, or "list" with its quotes? */
extern bool pay_slice_is(PaySlice value, const char *word);
/* Decodes a string into text, which has room for value.bytes; UTF-8, ends with NUL.  False when it is no string, or holds an escape that jsonb refuses. */
extern bool pay_slice_string(PaySlice value, char *text) __attribute__((warn_unused_result));

#endif							/* PAY_JSON_SLICE_H */
