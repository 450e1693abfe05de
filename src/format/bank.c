/*
 * src/format/bank.c
 *		What all statements of banks have in common: they add up.
 */
#include "payments.h"

#include "format/bank.h"

PayFileResult
pay_books_check(const PayBooks *books, PayFileProblem *problem, int line)
{
	PayDecimal	sum = books->opening;
	char		opening[PAY_DECIMAL_BYTES],
				booked[PAY_DECIMAL_BYTES],
				closing[PAY_DECIMAL_BYTES];

	if (!books->opening.given || !books->closing.given)
		return PAY_FILE_ROW;
	if (pay_decimal_add(&sum, &books->booked, 1) && pay_decimal_equal(&sum, &books->closing))
		return PAY_FILE_ROW;
	pay_decimal_text(&books->opening, opening);
	pay_decimal_text(&books->booked, booked);
	pay_decimal_text(&books->closing, closing);
	problem->totals = true;
	return pay_file_broken(problem, line, "opening balance %s and booked entries %s do not make closing balance %s", opening, booked, closing);
}

bool
pay_books_add(PayBooks *books, const PayDecimal *amount, bool is_booked)
{
	books->entries++;
	books->all_booked = books->all_booked && is_booked;
	return (!is_booked || pay_decimal_add(&books->booked, amount, 1)) &&
		(amount->digits >= 0 ? pay_decimal_add(&books->credits, amount, 1) : pay_decimal_add(&books->debits, amount, -1));
}
