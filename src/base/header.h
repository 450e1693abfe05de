/*
 * src/base/header.h
 *		Reading headers that a peer wrote.
 *
 * Pure: no allocation, no errors raised, nothing but libc.  Names and values
 * are bytes with a length, not strings: they may hold anything.
 */
#ifndef PAY_HEADER_H
#define PAY_HEADER_H

#define PAY_RETRY_AFTER_MAX 3600

typedef struct PayHeader
{
	const char *name;			/* in the peer's spelling */
	size_t		name_bytes;
	const char *value;			/* without the blanks around it; NULL of an inbound request: not one string */
	size_t		value_bytes;
} PayHeader;

/* Splits a line "Name: value"; false for what is none, such as a status line. */
extern bool pay_header_split(const char *line, size_t bytes, PayHeader *header);

/* Is it the header of that name, given in lower case? */
extern bool pay_header_is(const PayHeader *header, const char *name);

/* Retry-After in seconds, at most a day; -1 for anything else, dates included. */
extern int	pay_header_retry_after(const PayHeader *header);

/* Copies what is printable ASCII into a string of `size` bytes, the rest as '?'; cuts what does not fit. */
extern void pay_copy_printable(char *to, size_t size, const char *value, size_t bytes);

#endif							/* PAY_HEADER_H */
