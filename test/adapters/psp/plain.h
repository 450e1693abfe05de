/*
 * test/adapters/psp/plain.h
 *		What the adapters of the tests share: a PSP that takes operations as
 *		JSON at one address.  test/peer/plain.py is that PSP.
 *
 * They differ in what a PSP may differ in beside its words: how it knows us,
 * and how we know it.
 */
#ifndef PLAIN_H
#define PLAIN_H

#include "psp/psp.h"

#define PLAIN_KEY_VALID_S 3600
#define PLAIN_TOLERANCE_S 300

extern bool plain_build(const PayCommand *command, PayRequest *request, const char **problem);
extern bool plain_build_inquiry(const PayCommand *command, PayRequest *request);
extern void plain_read_header(const PayHeader *header, PayAnswer *answer);
extern void plain_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);

/* An operation as an event tells of it.  False when it is none. */
extern bool plain_read_event(PaySlice operation, PayPspEvent *event);

/* Members that are strings without escapes, or whole numbers; NULL or false for anything else. */
extern char *plain_text(PaySlice object, const char *name);
extern bool plain_int64(PaySlice object, const char *name, int64 *value);
extern char *plain_base64(const char *text);
/* Is the signature, lower-case hex, that of the message under one of the secrets? */
extern bool plain_signed(const char *message, size_t bytes, const char *signature, const char *const *secrets);

#endif							/* PLAIN_H */
