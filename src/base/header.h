/*
 * src/base/header.h
 *		Reading response headers that a peer wrote.
 *
 * Pure: no allocation, no errors raised, nothing but libc.  Values are bytes
 * with a length, not strings: they may hold anything.
 */
#ifndef PAY_HEADER_PARSE_H
#define PAY_HEADER_PARSE_H

#define PAY_RETRY_AFTER_MAX 86400

/* Splits one header line and compares its name, ignoring case, with `name` in lower case.  On a match sets the value, without the blanks around it. */
extern bool pay_http_header(const char *line, size_t bytes, const char *name, const char **value, size_t *value_bytes);

/* Retry-After in seconds, at most a day; -1 for anything else, dates included. */
extern int	pay_http_retry_after(const char *value, size_t bytes);

/* "true" 1, "false" 0, anything else -1. */
extern int	pay_http_should_retry(const char *value, size_t bytes);

/* Copies what is printable ASCII into a string of `size` bytes, the rest as '?'; cuts what does not fit. */
extern void pay_http_copy_printable(char *to, size_t size, const char *value, size_t bytes);

#endif							/* PAY_HEADER_PARSE_H */
