/*
 * test/lib/untranslated.c
 *		gettext that translates nothing, for servers with a sanitizer.
 *
 * With libasan loaded first, glibc's lock of the message catalogs is let go
 * more often than taken while the server's libraries start (seen with
 * libsystemd), and the first bindtextdomain() waits for ever.
 */
#include <libintl.h>
#include <stddef.h>

#undef gettext
#undef dgettext
#undef dcgettext
#undef ngettext
#undef dngettext
#undef dcngettext

char *bindtextdomain(const char *domain, const char *folder) { return (char *) folder; }
char *bind_textdomain_codeset(const char *domain, const char *codeset) { return (char *) codeset; }
char *textdomain(const char *domain) { return (char *) domain; }
char *gettext(const char *text) { return (char *) text; }
char *dgettext(const char *domain, const char *text) { return (char *) text; }
char *dcgettext(const char *domain, const char *text, int category) { return (char *) text; }
char *ngettext(const char *one, const char *many, unsigned long n) { return (char *) (n == 1 ? one : many); }
char *dngettext(const char *domain, const char *one, const char *many, unsigned long n) { return (char *) (n == 1 ? one : many); }
char *dcngettext(const char *domain, const char *one, const char *many, unsigned long n, int category) { return (char *) (n == 1 ? one : many); }
