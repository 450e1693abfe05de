-- How answer codes are treated.  The codes are the PSPs' and the networks'; the
-- classes are our reading of them, on the side of not retrying, and rest mostly
-- on general knowledge of the codes: check them against your contract.  Where a
-- code has no row, the adapter's own class stands: declined.

CREATE TABLE payments.decline_rule (
	adapter text NOT NULL,
	code text NOT NULL,
	class text NOT NULL CONSTRAINT decline_rule_class_known CHECK (class IN
		('declined', 'retry_later', 'requires_action', 'misconfigured', 'duplicate', 'not_sent', 'unknown')),
	schedule text,
	source text,
	edition text,
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (adapter, code, builtin)
);
COMMENT ON TABLE payments.decline_rule IS 'how an answer code of a PSP is treated; a row of yours (builtin = false) wins over a shipped one';
COMMENT ON COLUMN payments.decline_rule.adapter IS 'adapter name';
COMMENT ON COLUMN payments.decline_rule.code IS 'the PSP''s code; advice codes are written advice:CODE and network_advice:CODE and are looked up first';
COMMENT ON COLUMN payments.decline_rule.class IS 'declined: never retry; retry_later: soft; requires_action: payer must authenticate; misconfigured: stop the PSP; duplicate: inquire; not_sent: certainly not processed; unknown: may have been processed';
COMMENT ON COLUMN payments.decline_rule.schedule IS 'retry_schedule.schedule for retry_later';
COMMENT ON COLUMN payments.decline_rule.source IS 'where the rule was read';
COMMENT ON COLUMN payments.decline_rule.edition IS 'date or edition of the source';
COMMENT ON COLUMN payments.decline_rule.builtin IS 'shipped with the extension';

SELECT pg_catalog.pg_extension_config_dump('payments.decline_rule', 'WHERE NOT builtin');

INSERT INTO payments.decline_rule (adapter, code, class, schedule, source, edition, builtin)
VALUES
	-- Soft: the same card may pass later.
	('stripe', 'insufficient_funds', 'retry_later', 'soft_decline', 'Stripe decline codes', '2026-11', true),
	('stripe', 'try_again_later', 'retry_later', 'soft_decline', 'Stripe decline codes', '2026-11', true),
	('stripe', 'processing_error', 'retry_later', 'soft_decline', 'Stripe decline codes', '2026-11', true),
	('stripe', 'issuer_not_available', 'retry_later', 'soft_decline', 'Stripe decline codes', '2026-11', true),
	('stripe', 'reenter_transaction', 'retry_later', 'soft_decline', 'Stripe decline codes', '2026-11', true),
	('stripe', 'approve_with_id', 'retry_later', 'soft_decline', 'Stripe decline codes', '2026-11', true),
	('stripe', 'card_velocity_exceeded', 'retry_later', 'soft_decline', 'Stripe decline codes', '2026-11', true),
	('stripe', 'withdrawal_count_limit_exceeded', 'retry_later', 'soft_decline', 'Stripe decline codes', '2026-11', true),
	-- Generic: the issuer gives no reason, so nothing says that a retry would help.
	('stripe', 'card_declined', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'do_not_honor', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'generic_decline', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'call_issuer', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'no_action_taken', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	-- The payer must authenticate.
	('stripe', 'authentication_required', 'requires_action', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'mobile_device_authentication_required', 'requires_action', NULL, 'Stripe decline codes', '2026-11', true),
	-- Other data or another card.
	('stripe', 'incorrect_number', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'invalid_number', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'incorrect_cvc', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'invalid_cvc', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'incorrect_zip', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'incorrect_address', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'invalid_expiry_month', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'invalid_expiry_year', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'incorrect_pin', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'invalid_pin', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'offline_pin_required', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'online_or_offline_pin_required', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'pin_try_exceeded', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'expired_card', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'invalid_amount', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'new_account_information_available', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	-- Hard: never again with this card.
	('stripe', 'lost_card', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'stolen_card', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'pickup_card', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'restricted_card', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'invalid_account', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'do_not_try_again', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'revocation_of_all_authorizations', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'revocation_of_authorization', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'stop_payment_order', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	-- Fraud; the payer gets a generic message.
	('stripe', 'fraudulent', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'merchant_blacklist', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'security_violation', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'request_blocked', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	-- Ours to set right.
	('stripe', 'card_not_supported', 'misconfigured', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'currency_not_supported', 'misconfigured', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'not_permitted', 'misconfigured', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'service_not_allowed', 'misconfigured', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'transaction_not_allowed', 'misconfigured', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'testmode_decline', 'misconfigured', NULL, 'Stripe decline codes', '2026-11', true),
	('stripe', 'api_key_expired', 'misconfigured', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'platform_api_key_expired', 'misconfigured', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'secret_key_required', 'misconfigured', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'testmode_charges_only', 'misconfigured', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'livemode_mismatch', 'misconfigured', NULL, 'Stripe error codes', '2026-11', true),
	-- This PaymentIntent was not charged, whatever became of the one that it
	-- resembles: an inquiry could only repeat that.
	('stripe', 'duplicate_transaction', 'declined', NULL, 'Stripe decline codes', '2026-11', true),
	-- It was done before, perhaps by a call whose answer was lost.
	('stripe', 'charge_already_captured', 'duplicate', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'charge_already_refunded', 'duplicate', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'payment_intent_unexpected_state', 'duplicate', NULL, 'Stripe error codes', '2026-11', true),
	-- Not executed; the same key again.
	('stripe', 'rate_limit', 'not_sent', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'lock_timeout', 'not_sent', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'idempotency_key_in_use', 'not_sent', NULL, 'Stripe error codes', '2026-11', true),
	-- Refusals of the request itself.
	('stripe', 'amount_too_large', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'amount_too_small', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'balance_insufficient', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'canceled', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'charge_disputed', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'charge_expired_for_capture', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'payment_intent_authentication_failure', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'payment_intent_payment_attempt_expired', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'payment_intent_payment_attempt_failed', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'payment_method_not_available', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	('stripe', 'resource_missing', 'declined', NULL, 'Stripe error codes', '2026-11', true),
	-- Advice goes before codes, and the network's before Stripe's.
	('stripe', 'advice:do_not_try_again', 'declined', NULL, 'Stripe advice codes', '2026-11', true),
	('stripe', 'advice:confirm_card_data', 'declined', NULL, 'Stripe advice codes', '2026-11', true),
	('stripe', 'advice:try_again_later', 'retry_later', 'soft_decline', 'Stripe advice codes', '2026-11', true),
	-- Network advice.  04 and 22 ask for other technical data, and Visa writes
	-- 04 for any generic decline, so they stop no PSP.
	('stripe', 'network_advice:01', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:03', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:04', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:21', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:22', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:42', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:99', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:02', 'retry_later', 'network_3d', 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:24', 'retry_later', 'network_1h', 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:25', 'retry_later', 'network_1d', 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:26', 'retry_later', 'network_2d', 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:27', 'retry_later', 'network_4d', 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:28', 'retry_later', 'network_6d', 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:29', 'retry_later', 'network_8d', 'Mastercard merchant advice codes', '2026-11', true),
	('stripe', 'network_advice:30', 'retry_later', 'network_10d', 'Mastercard merchant advice codes', '2026-11', true),
	-- The payer, or whoever pays for them, refuses; so nothing says that a retry would help.
	('paypal', 'INSTRUMENT_DECLINED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'TRANSACTION_REFUSED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'PAYER_CANNOT_PAY', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'PAYER_ACCOUNT_RESTRICTED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'PAYER_ACCOUNT_LOCKED_OR_CLOSED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'COMPLIANCE_VIOLATION', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'TRANSACTION_LIMIT_EXCEEDED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	-- The payer has not approved, or has to do so anew: another payment does it.
	('paypal', 'ORDER_NOT_APPROVED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'ORDER_EXPIRED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'PAYER_ACTION_REQUIRED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'REDIRECT_PAYER_FOR_ALTERNATE_FUNDING', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	-- Our own account; one payment stops no PSP.
	('paypal', 'PAYEE_ACCOUNT_RESTRICTED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'PAYEE_ACCOUNT_LOCKED_OR_CLOSED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'TRANSACTION_RECEIVING_LIMIT_EXCEEDED', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	('paypal', 'CURRENCY_NOT_SUPPORTED_FOR_COUNTRY', 'declined', NULL, 'PayPal Orders v2, its OpenAPI description', '2024-02', true),
	-- What follows a payment.
	('paypal', 'AUTHORIZATION_EXPIRED', 'declined', NULL, 'PayPal Payments v2, its OpenAPI description', '2024-02', true),
	('paypal', 'AUTHORIZATION_VOIDED', 'declined', NULL, 'PayPal Payments v2, its OpenAPI description', '2024-02', true),
	('paypal', 'AUTHORIZATION_DENIED', 'declined', NULL, 'PayPal Payments v2, its OpenAPI description', '2024-02', true),
	('paypal', 'MAX_CAPTURE_AMOUNT_EXCEEDED', 'declined', NULL, 'PayPal Payments v2, its OpenAPI description', '2024-02', true),
	('paypal', 'REFUND_AMOUNT_EXCEEDED', 'declined', NULL, 'PayPal Payments v2, its OpenAPI description', '2024-02', true),
	('paypal', 'REFUND_FAILED_INSUFFICIENT_FUNDS', 'declined', NULL, 'PayPal Payments v2, its OpenAPI description', '2024-02', true),
	('paypal', 'REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK', 'declined', NULL, 'PayPal Payments v2, its OpenAPI description', '2024-02', true),
	('paypal', 'REFUND_TIME_LIMIT_EXCEEDED', 'declined', NULL, 'PayPal Payments v2, its OpenAPI description', '2024-02', true),
	('paypal', 'TRANSACTION_DISPUTED', 'declined', NULL, 'PayPal Payments v2, its OpenAPI description', '2024-02', true),
	-- The sandbox speaks like Stripe.
	('sandbox', 'generic_decline', 'declined', NULL, 'payments sandbox', '1', true),
	('sandbox', 'insufficient_funds', 'retry_later', 'soft_decline', 'payments sandbox', '1', true),
	('sandbox', 'lost_card', 'declined', NULL, 'payments sandbox', '1', true),
	('sandbox', 'unknown_payment_method', 'declined', NULL, 'payments sandbox', '1', true),
	('sandbox', 'refund_exceeds_captured', 'declined', NULL, 'payments sandbox', '1', true);

-- YooKassa's reasons of cancellation_details, of payments and then of refunds, and the codes of its errors.
-- A saved method that its owner has allowed no longer, or that is blocked, passes at no later time either.
INSERT INTO payments.decline_rule (adapter, code, class, schedule, source, edition, builtin)
VALUES
	('yookassa', 'insufficient_funds', 'retry_later', 'soft_decline', 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'issuer_unavailable', 'retry_later', 'soft_decline', 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'internal_timeout', 'retry_later', 'soft_decline', 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'payment_method_limit_exceeded', 'retry_later', 'soft_decline', 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'general_decline', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'call_issuer', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', '3d_secure_failed', 'requires_action', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'identification_required', 'requires_action', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'card_expired', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'invalid_card_number', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'invalid_csc', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'country_forbidden', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'unsupported_mobile_operator', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'payment_method_restricted', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'permission_revoked', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'fraud_suspected', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'expired_on_confirmation', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'expired_on_capture', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'canceled_by_merchant', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'deal_expired', 'declined', NULL, 'YooKassa declined payments', '2026-02', true),
	('yookassa', 'yoo_money_account_closed', 'declined', NULL, 'YooKassa declined refunds', '2026-02', true),
	('yookassa', 'rejected_by_payee', 'declined', NULL, 'YooKassa declined refunds', '2026-02', true),
	('yookassa', 'rejected_by_timeout', 'declined', NULL, 'YooKassa declined refunds', '2026-02', true),
	('yookassa', 'payment_basket_id_not_found', 'declined', NULL, 'YooKassa declined refunds', '2026-02', true),
	('yookassa', 'payment_article_number_not_found', 'declined', NULL, 'YooKassa declined refunds', '2026-02', true),
	('yookassa', 'payment_tru_code_not_found', 'declined', NULL, 'YooKassa declined refunds', '2026-02', true),
	('yookassa', 'too_many_refunding_articles', 'declined', NULL, 'YooKassa declined refunds', '2026-02', true),
	('yookassa', 'some_articles_already_refunded', 'declined', NULL, 'YooKassa declined refunds', '2026-02', true),
	('yookassa', 'invalid_request', 'declined', NULL, 'YooKassa HTTP response codes', '2026-02', true),
	('yookassa', 'not_found', 'declined', NULL, 'YooKassa HTTP response codes', '2026-02', true),
	('yookassa', 'forbidden', 'misconfigured', NULL, 'YooKassa HTTP response codes', '2026-02', true);

-- Adyen, by refusalReasonCode.  Soft: acquirer, issuer unavailable, balance, withdrawal limits.
INSERT INTO payments.decline_rule (adapter, code, class, schedule, source, edition, builtin)
VALUES
	('adyen', '4', 'retry_later', 'soft_decline', 'Adyen refusal reasons', '2026-11', true),
	('adyen', '9', 'retry_later', 'soft_decline', 'Adyen refusal reasons', '2026-11', true),
	('adyen', '12', 'retry_later', 'soft_decline', 'Adyen refusal reasons', '2026-11', true),
	('adyen', '28', 'retry_later', 'soft_decline', 'Adyen refusal reasons', '2026-11', true),
	('adyen', '29', 'retry_later', 'soft_decline', 'Adyen refusal reasons', '2026-11', true),
	-- Generic: refused, referral, declined non generic.
	('adyen', '2', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '3', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '27', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	-- The payer must authenticate: 3D not authenticated, authentication required, and that without an answer.
	('adyen', '11', 'requires_action', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '38', 'requires_action', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '42', 'requires_action', NULL, 'Adyen refusal reasons', '2026-11', true),
	-- Other data or another card: expired, invalid amount or number, PIN, CVC, AVS, online PIN and accounts.
	('adyen', '6', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '7', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '8', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '17', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '18', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '19', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '24', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '32', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '33', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '34', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '35', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '36', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '37', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '39', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '40', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '41', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	-- Hard: blocked or restricted card, revocation of authorisation, blocked to avoid the fees of a retry.
	('adyen', '5', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '25', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '26', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '46', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	-- Fraud, as somebody suspects it.
	('adyen', '14', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '20', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '22', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '31', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	-- The payer or the shop has ended it.
	('adyen', '15', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '16', 'declined', NULL, 'Adyen refusal reasons', '2026-11', true),
	-- Ours to set right: not supported, not submitted, transaction not permitted.
	('adyen', '10', 'misconfigured', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '21', 'misconfigured', NULL, 'Adyen refusal reasons', '2026-11', true),
	('adyen', '23', 'misconfigured', NULL, 'Adyen refusal reasons', '2026-11', true),
	-- Refusals of the request itself, by errorCode.
	('adyen', '000', 'misconfigured', NULL, 'Adyen error codes', '2026-11', true),
	('adyen', '010', 'misconfigured', NULL, 'Adyen error codes', '2026-11', true),
	('adyen', '901', 'misconfigured', NULL, 'Adyen error codes', '2026-11', true),
	('adyen', '905', 'misconfigured', NULL, 'Adyen error codes', '2026-11', true),
	('adyen', '905_1', 'misconfigured', NULL, 'Adyen error codes', '2026-11', true),
	('adyen', '905_3', 'misconfigured', NULL, 'Adyen error codes', '2026-11', true),
	-- The same request is being executed.
	('adyen', '704', 'unknown', NULL, 'Adyen error codes', '2026-11', true),
	-- The network's advice binds before the acquirer's code.
	('adyen', 'network_advice:01', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:03', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:04', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:21', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:22', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:42', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:99', 'declined', NULL, 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:02', 'retry_later', 'network_3d', 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:24', 'retry_later', 'network_1h', 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:25', 'retry_later', 'network_1d', 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:26', 'retry_later', 'network_2d', 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:27', 'retry_later', 'network_4d', 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:28', 'retry_later', 'network_6d', 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:29', 'retry_later', 'network_8d', 'Mastercard merchant advice codes', '2026-11', true),
	('adyen', 'network_advice:30', 'retry_later', 'network_10d', 'Mastercard merchant advice codes', '2026-11', true);
