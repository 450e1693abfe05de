"""
The operations that run.py does, chosen at random: valid ones, invalid ones,
repetitions with the same and with another content.  What is chosen depends on
the seed and on what the model says, so a seed gives the same operations again.
"""
from ledger_model import AMOUNT_MAX, INT8_MAX, Element, Moment

WINDOW = 40                     # operations within which a time that is a little ahead is used
QUIET = 600                     # and those after them that leave it alone, until it has passed
FAR = Moment('2100-01-01 00:00:00+00')
GONE = Moment('2001-01-01 00:00:00+00', passed=True)
NOBODY = 999999999
TEXTS = ['order 1', 'Grüße', "it's \\ 100%", '€' * 40, '', 'x' * 1001, '€' * 400, '4111 1111 1111 1111']
KINDS = ['manual', 'fee', 'hold', 'reversal', '', 'k' * 64]
TIMES = ['2000-01-01 00:00:00+00', '2019-07-01 12:00:00.5+00', '2100-01-01 00:00:00+00', 'infinity']
EUR = [('asset', False, None, None), ('asset', False, None, None), ('liability', False, 0, None), ('liability', False, 0, None),
       ('liability', False, 0, 5000), ('liability', False, -500, None), ('liability', False, 0, None), ('asset', False, 0, None),
       ('asset', False, 0, 20000), ('income', False, None, None), ('expense', False, None, 0), ('equity', False, 0, 0),
       ('asset', True, None, None), ('income', True, None, None), ('liability', True, None, None),
       ('liability', True, 0, None, 4), ('asset', True, 0, 30000, 3), ('liability', True, -100, None, 2)]
USD = EUR[1:5]
KRW = [('liability', False, 0, None), ('asset', False, None, None), ('liability', False, -2 ** 63, None), ('asset', False, None, INT8_MAX),
       ('asset', True, None, None), ('liability', True, None, None), ('liability', False, -1, INT8_MAX), ('expense', False, -INT8_MAX, None)]
POOLS = {'EUR': EUR, 'USD': USD, 'KRW': KRW}


class Mismatch(Exception):
    pass


class Operation:
    """What the server is told, what the model is asked, and how the answers are compared."""
    __slots__ = ('verb', 'call', 'sql', 'args', 'predict', 'accept', 'ids', 'moments')

    def __init__(self, verb, call, args, predict, accept, ids=(), moments=()):
        self.verb, self.args, self.predict, self.accept = verb, args, predict, accept
        self.moments = moments          # times on which the outcome depends
        self.ids = sorted({i for i in ids if i})
        self.call, self.sql = call, None


class Operations:
    """Chooses; needs self.random, self.model, self.counts, and self.moment: the time that is a little ahead, or None."""

    def __init__(self):
        self.pools = {currency: [] for currency in POOLS}
        self.closed, self.requests, self.holds, self.postings, self.transactions = [], [], [], [], []
        self.names = self.newest = self.last_id = self.elements = 0
        self.moment = self.window = None
        self.level = None               # of the transaction that is open

    # ---------- choosing ----------

    def chance(self, p):
        return self.random.random() < p

    def pick_account(self, currency):
        r = self.random.random()
        if r < 0.01 and self.closed:
            return self.random.choice(self.closed).id
        if r < 0.012:
            return NOBODY
        return self.random.choice(self.pools[currency]).id

    def pick_pair(self):
        currency = self.random.choices(('EUR', 'USD', 'KRW'), (70, 10, 20))[0]
        debit = self.pick_account(currency)
        credit = self.pick_account('USD' if self.chance(0.01) else currency)
        while credit == debit and not self.chance(0.05):
            credit = self.pick_account(currency)
        return debit, credit, currency

    def pick_amount(self, debit, credit, currency):
        debit, credit = self.model.accounts.get(debit), self.model.accounts.get(credit)
        r = self.random.random()
        if r < 0.03:
            return self.random.choice([0, -1, -INT8_MAX - 1])
        if debit and credit and r < (0.08 if currency == 'KRW' else 0.33):
            room = self.model.room(debit, credit)
            if currency == 'KRW' or room < 10 ** 12:
                return max(-INT8_MAX, min(INT8_MAX, room + self.random.choice([-1, 0, 0, 1])))
        if currency == 'KRW':
            if r > 0.98:
                return self.random.choice([INT8_MAX, 2 ** 62, AMOUNT_MAX, AMOUNT_MAX + 1])
            return self.random.randint(1, 10 ** self.random.randint(1, 18))
        if r < 0.4:
            return 10 ** self.random.randint(3, 10)
        return self.random.randint(1, 300)

    def pick_text(self):
        r = self.random.random()
        return None if r < 0.6 else self.random.choice(TEXTS[:4]) if r < 0.98 else self.random.choice(TEXTS)

    def new_reference(self):
        if self.chance(0.01):
            return self.random.choice(['', 'r' * 256, 'card 4111 1111 1111 1111'])
        if self.chance(0.02) and self.names:
            return f'r{self.random.randint(1, self.names)}'    # of any verb, with another content most likely
        self.names += 1
        return f'r{self.names}'

    def remember(self, kind, request):
        """Requests that can be repeated: the newest and some of all."""
        if len(self.requests) < 3000:
            self.requests.append((kind, request))
        else:
            self.requests[self.random.randrange(3000) if self.chance(0.3) else self.newest % 300] = (kind, request)
            self.newest += 1

    def keep(self, among, one):
        if len(among) < 100:
            among.append(one)
        else:
            among[self.random.randrange(100)] = one

    # ---------- the operations ----------

    def pick_element(self, reference):
        debit, credit, currency = self.pick_pair()
        e = Element(debit, credit, self.pick_amount(debit, credit, currency), reference, self.pick_text())
        if self.chance(0.1):
            e.kind = self.random.choice(KINDS[:4] if self.chance(0.9) else KINDS)
        if self.chance(0.08):
            e.effective_at = self.random.choice(TIMES[:3] if self.chance(0.9) else TIMES)
            e.backdated = e.effective_at < '2026'
            e.imported = self.chance(0.7)
        elif self.chance(0.02):
            e.imported = True
        e.balancing = self.chance(0.12)
        return e

    def changed(self, e):
        """Another content under the same reference."""
        copy = Element(*(getattr(e, name) for name in Element.__slots__))
        what = self.random.randrange(7)
        if what == 0:
            copy.debit = self.pick_account('EUR')
        elif what == 1:
            copy.credit = self.pick_account('EUR')
        elif what == 2:
            copy.amount = (copy.amount or 1) % INT8_MAX + 1
        elif what == 3:
            copy.description = 'changed'
        elif what == 4:
            copy.kind = 'fee'
        elif what == 5:
            copy.balancing = not copy.balancing
        else:
            copy.imported = not copy.imported
        return copy

    def post(self, e=None):
        if e is None:
            e = self.pick_element(self.new_reference() if self.chance(0.5) else None)
            if e.reference:
                self.remember('post', e)
        call = ('SELECT payments.post(%s, %s, %s, %s, %s, %s, %s::timestamptz, %s, %s) AS a',
                (e.debit, e.credit, e.amount, e.reference, e.description, e.kind, e.effective_at, e.balancing, e.imported))
        return Operation('post', *call, lambda: self.model.post(e), self.accept_posting, (e.debit, e.credit))

    def accept_posting(self, answer, posting):
        """A new one has a new id, a repetition the old one."""
        self.accept_id(answer[0], posting)

    def accept_id(self, posting_id, posting):
        if posting.id is None:
            if posting_id <= self.last_id:
                raise Mismatch(f'the model says that this is a new posting, the server has {posting_id}, not above {self.last_id}')
            posting.id = self.last_id = posting_id
            self.model.put(self.model.postings, posting_id, posting)
            self.keep(self.postings, posting_id)
        elif posting.id != posting_id:
            raise Mismatch(f'the model says that this repeats posting {posting.id}, the server has {posting_id}')

    def batch(self, elements=None):
        if elements is None:
            referenced = self.random.choice([0, 0.5, 1])
            elements, link = [], 0
            n = min(self.random.randint(1, 50), self.random.randint(1, 50))
            while len(elements) < n:
                size, link = 1, link + 1
                if self.chance(0.3):
                    size = self.random.randint(1, 5)
                with_reference = self.chance(referenced)
                for _ in range(size):
                    e = self.pick_element(self.new_reference() if with_reference else None)
                    if size > 1 or self.chance(0.1):
                        e.link = link
                    elements.append(e)
            if self.chance(0.15):
                self.twist(elements)
            if any(e.reference for e in elements):
                self.remember('batch', elements)
        self.elements += len(elements)
        all_or_nothing = self.chance(0.2)
        columns = [[getattr(e, name) for e in elements] for name in (
            'debit', 'credit', 'amount', 'reference', 'description', 'kind', 'effective_at', 'link', 'balancing')]
        imported = elements[0].imported
        if any(e.imported != imported for e in elements):
            elements = [self.with_imported(e, imported) for e in elements]
        call = ('SELECT array_agg(b.posting_id ORDER BY b.index) AS a, array_agg(b.error ORDER BY b.index) AS errors,'
                ' array_agg(b.amount ORDER BY b.index) AS amounts, array_agg(b.index) AS indexes FROM payments.post_batch(%s::bigint[], %s::bigint[],'
                ' %s::bigint[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::int[], %s::boolean[], %s, %s) b',
                (*columns, all_or_nothing, imported))
        return Operation('batch', *call, lambda: self.model.post_batch(elements, all_or_nothing), self.accept_batch,
                         {e.debit for e in elements} | {e.credit for e in elements})

    @staticmethod
    def with_imported(e, imported):
        """post_batch() has one for all."""
        copy = Element(*(getattr(e, name) for name in Element.__slots__))
        copy.imported = imported
        return copy

    def twist(self, elements):
        """What a careless caller sends."""
        for _ in range(self.random.randint(1, 3)):
            i, j = self.random.randrange(len(elements)), self.random.randrange(len(elements))
            what = self.random.randrange(8)
            if what < 3 and len(elements) < 50:
                twin = elements[i] if what else self.changed(elements[i])
                if what == 2:
                    twin = Element(*(getattr(twin, name) for name in Element.__slots__))
                    twin.link = elements[j].link
                elements.insert(j + 1, twin)
            elif what == 3:
                elements[i] = self.changed(elements[i])
            elif what == 4:
                elements[i], elements[j] = elements[j], elements[i]
            elif what == 5:
                elements[i].amount = None
            elif what == 6:
                elements[i].link = self.random.choice([0, -1, None, 1])
            else:
                elements[i].credit = elements[i].debit

    def accept_batch(self, answer, outcomes):
        ids, errors, amounts, indexes = answer[:4]
        if indexes != list(range(1, len(outcomes) + 1)):
            raise Mismatch(f'{len(outcomes)} elements, the server answers for {indexes}')
        for i, outcome in enumerate(outcomes):
            if outcome.error != errors[i]:
                raise Mismatch(f'element {i + 1}: the model says {outcome.error}, the server {errors[i]}; '
                               f'all: {[o.error for o in outcomes]}, {errors}')
            self.counts['element', outcome.error or '00000'] += 1
            if outcome.error:
                if ids[i] is not None or amounts[i] is not None:
                    raise Mismatch(f'element {i + 1} was refused and has posting {ids[i]}')
                continue
            self.accept_id(ids[i], outcome.posting)
            if amounts[i] != outcome.posting.amount:
                raise Mismatch(f'element {i + 1}: the model says {outcome.posting.amount}, the server {amounts[i]}')

    def hold(self, request=None):
        if request is None:
            debit, credit, currency = self.pick_pair()
            while any(a and a.hot for a in map(self.model.accounts.get, (debit, credit))) and not self.chance(0.05):
                debit, credit, currency = self.pick_pair()
            request = dict(debit_id=debit, credit_id=credit, amount=self.pick_amount(debit, credit, currency),
                           reference=self.new_reference() if self.chance(0.4) else None, expires_at=None,
                           description=self.pick_text(), balancing=self.chance(0.15))
            if self.moment and self.window > QUIET and self.chance(0.5):
                request['expires_at'] = self.moment
            elif self.chance(0.1):
                request['expires_at'] = self.random.choice([FAR, FAR, FAR, GONE])
            if request['reference']:
                self.remember('hold', request)
        expires_at = request['expires_at'] and request['expires_at'].text
        call = ('SELECT h.hold_id AS a, h.amount FROM payments.hold(%s, %s, %s, %s, %s::timestamptz, %s, %s) h',
                (request['debit_id'], request['credit_id'], request['amount'], request['reference'], expires_at, request['description'],
                 request['balancing']))
        return Operation('hold', *call, lambda: self.model.hold(**request), self.accept_hold, (request['debit_id'], request['credit_id']),
                         (request['expires_at'],))

    def accept_hold(self, answer, hold):
        if hold.id is None:
            if answer[0] in self.model.holds:
                raise Mismatch(f'the model says that this is a new hold, the server has {answer[0]}')
            hold.id = answer[0]
            self.model.put(self.model.holds, hold.id, hold)
            self.keep(self.holds, hold.id)
        if (answer[0], answer[1]) != (hold.id, hold.amount):
            raise Mismatch(f'the model has hold {hold.id} of {hold.amount}, the server {answer[0]} of {answer[1]}')

    def changed_hold(self, request):
        change = self.random.choice([{'amount': request['amount'] % INT8_MAX + 1}, {'description': 'changed'}, {'expires_at': FAR},
                                     {'balancing': not request['balancing']}, {'credit_id': self.pick_account('EUR')}])
        return {**request, **change}

    def pick_hold(self):
        """Often one that is open, most often one that expires soon."""
        for _ in range(3):
            hold_id = self.random.choice(self.holds) if self.holds else NOBODY
            hold = self.model.holds.get(hold_id)
            if hold and hold.remaining:
                break
        return NOBODY if self.chance(0.005) else hold_id

    def facts_of(self, hold_id):
        hold = self.model.holds.get(hold_id)
        return ((hold.debit.id, hold.credit.id), (hold.expires_at,)) if hold else ((), ())

    def post_hold(self, request=None):
        if request is None:
            hold_id = self.pick_hold()
            hold = self.model.holds.get(hold_id)
            left = hold.remaining if hold else 10
            amount = self.random.choice([None, None, left, left + 1, 1, max(left // 2, 1), max(left // 3, 1), max(left // 3, 1), 0])
            request = dict(hold_id=hold_id, amount=amount and min(amount, INT8_MAX), final=self.chance(0.4),
                           reference=self.new_reference() if self.chance(0.4) else None)
            if request['reference']:
                self.remember('post_hold', request)
        call = ('SELECT payments.post_hold(%s, %s, %s, %s) AS a', (request['hold_id'], request['amount'], request['final'], request['reference']))
        return Operation('post_hold', *call, lambda: self.model.post_hold(**request), self.accept_posting,
                         *self.facts_of(request['hold_id']))

    def changed_post_hold(self, request):
        change = self.random.choice([{'hold_id': self.pick_hold()}, {'amount': (request['amount'] or 0) % INT8_MAX + 1},
                                     {'final': not request['final']}, {'amount': None}])
        return {**request, **change}

    def void_hold(self):
        hold_id, reason = self.pick_hold(), self.pick_text()
        return Operation('void_hold', 'SELECT payments.void_hold(%s, %s) AS a', (hold_id, reason),
                         lambda: self.model.void_hold(hold_id, reason), self.accept_number, *self.facts_of(hold_id))

    @staticmethod
    def accept_number(answer, number):
        if answer[0] != number:
            raise Mismatch(f'the model says {number}, the server {answer[0]}')

    def release(self):
        ids = {a.id for hold in self.model.due if hold.expires_at.passed for a in (hold.debit, hold.credit)}
        return Operation('release', 'SELECT payments.release_expired_holds(100000) AS a', (), self.model.release_expired, self.accept_number, ids,
                         [hold.expires_at for hold in self.model.due])

    def reverse(self, request=None):
        if request is None:
            posting_id = self.random.choice(self.postings) if self.postings and not self.chance(0.01) else NOBODY
            past = self.random.choice(self.closed).lines if self.closed and self.chance(0.03) else None
            if past:
                posting_id = self.random.choice(past).id
            request = dict(posting_id=posting_id, reason=self.pick_text() or 'wrong', reference=self.new_reference() if self.chance(0.3) else None)
            if self.chance(0.01):
                request['reason'] = None
            if request['reference']:
                self.remember('reverse', request)
        posting = self.model.postings.get(request['posting_id'])
        return Operation('reverse', 'SELECT payments.reverse_posting(%s, %s, %s) AS a',
                         (request['posting_id'], request['reason'], request['reference']), lambda: self.model.reverse(**request), self.accept_posting,
                         (posting.debit.id, posting.credit.id) if posting else ())

    def changed_reverse(self, request):
        return {**request, **self.random.choice([{'reason': 'changed'}, {'reference': None}])}

    def transaction(self, request=None):
        if request is None:
            legs = []
            for _ in range(self.random.choice([1, 2, 2, 3, 3, 4, 5]) if not self.chance(0.01) else 0):
                debit, credit, currency = self.pick_pair()
                legs.append((debit, credit, self.pick_amount(debit, credit, currency)))
            e = self.pick_element(None)
            request = dict(legs=legs, reference=self.new_reference() if self.chance(0.6) else None, description=e.description, kind=e.kind,
                           effective_at=e.effective_at, backdated=e.backdated, imported=e.imported)
            if request['reference'] and self.chance(0.01):
                request['reference'] = 'r' * 250
            if request['reference']:
                self.remember('transaction', request)
        call = ('SELECT payments.post_transaction(%s::bigint[], %s::bigint[], %s::bigint[], %s, %s, %s, %s::timestamptz, %s) AS a',
                (*([leg[i] for leg in request['legs']] for i in range(3)), request['reference'], request['description'], request['kind'],
                 request['effective_at'], request['imported']))
        return Operation('transaction', *call, lambda: self.model.post_transaction(**request), self.accept_transaction,
                         {account for leg in request['legs'] for account in leg[:2]})

    def accept_transaction(self, answer, first):
        """The ids of its legs follow each other."""
        new = first.id is None
        self.accept_id(answer[0], first)
        if new and first.group:
            for i, posting in enumerate(first.group.postings[1:], 1):
                self.accept_id(answer[0] + i, posting)
        self.keep(self.transactions, first.id)

    def changed_transaction(self, request):
        legs = list(request['legs'])
        what = self.random.randrange(4)
        if what == 0 and legs:
            legs.pop()
        elif what == 1:
            debit, credit, _ = self.pick_pair()
            legs.append((debit, credit, 1))
        elif what == 2 and legs:
            legs[-1] = (*legs[-1][:2], legs[-1][2] % INT8_MAX + 1)
        else:
            return {**request, 'description': 'changed'}
        return {**request, 'legs': legs}

    def reverse_transaction(self, request=None):
        if request is None:
            ids = self.transactions if self.chance(0.8) else self.postings
            request = dict(transaction_id=self.random.choice(ids) if ids and not self.chance(0.01) else NOBODY,
                           reason=self.pick_text() or 'wrong', reference=self.new_reference() if self.chance(0.4) else None)
            if self.chance(0.01):
                request['reference'] = 'r' * 250
            if request['reference']:
                self.remember('reverse_transaction', request)
        posting = self.model.postings.get(request['transaction_id'])
        legs = posting.group.postings if posting and posting.group else [posting] if posting else []
        return Operation('reverse_transaction', 'SELECT payments.reverse_transaction(%s, %s, %s) AS a',
                         (request['transaction_id'], request['reason'], request['reference']), lambda: self.model.reverse_transaction(**request),
                         self.accept_transaction, {account.id for leg in legs for account in (leg.debit, leg.credit)})

    def changed_reverse_transaction(self, request):
        return self.changed_reverse(request)

    def repeat(self):
        """Something that was asked before, or nearly that."""
        if not self.requests:
            return self.post()
        kind, request = self.requests[-1 - self.random.randrange(min(len(self.requests), 50))] if self.chance(0.5) \
            else self.random.choice(self.requests)
        change = self.chance(0.3)
        if kind == 'batch':
            request = list(request)
            if change:
                cut = self.random.randrange(len(request))
                what = self.random.randrange(3)
                if what == 0:
                    request = request[cut:]
                elif what == 1:
                    request = request[:cut + 1]
                else:
                    request[cut] = self.changed(request[cut])
            elif self.chance(0.1):
                self.twist(request)
            return self.batch(request)
        if kind == 'post':
            if self.chance(0.2):
                return self.batch([self.changed(request) if change else request])
            return self.post(self.changed(request) if change else request)
        return getattr(self, kind)(getattr(self, 'changed_' + kind)(request) if change else request)

    def create(self, currency=None):
        thin = [c for c in POOLS if len(self.pools[c]) < len(POOLS[c])]
        if currency is None:
            currency = self.random.choice(thin or ['EUR', 'KRW', 'KRW'])
        # The first ones as they stand there, later ones at random.
        type_, hot, low, high, *parts = POOLS[currency][len(self.pools[currency])] if currency in thin else self.random.choice(POOLS[currency])
        self.names += 1
        definition = dict(merchant=self.random.choice(['m1', 'm2']), code=f'a{self.names}', currency=currency, type_=type_,
                          hot=hot, low=low, high=high,
                          history=not hot and self.chance(0.3), parts=parts[0] if parts else None)
        if self.chance(0.1) and currency not in thin:
            definition.update(self.random.choice([{'low': 1}, {'high': -1}, {'hot': True, 'low': 0}, {'hot': True, 'history': True}, {'code': ''},
                                                  {'parts': 4}, {'hot': True, 'low': 0, 'parts': 65},
                                                  {'code': '4111 1111 1111 1111'}]))
        elif self.chance(0.2) and currency not in thin:
            old = self.random.choice(self.pools[currency])
            definition = dict(merchant=old.merchant, code=old.code, currency=currency, type_=old.type, hot=old.hot, low=old.low, high=old.high,
                              history=old.history, parts=old.parts)
            if self.chance(0.5):
                definition.update(self.random.choice([{'type_': 'equity'}, {'low': -7, 'hot': False, 'parts': None},
                                                      {'high': 7, 'hot': False, 'parts': None}, {'history': not old.history}, {'hot': False, 'parts': None}]))
        call = ('SELECT payments.create_account(%(code)s, %(currency)s, %(type_)s, %(merchant)s, %(hot)s, %(low)s, %(high)s, NULL, %(history)s,'
                ' %(parts)s) AS a', definition)
        return Operation('create', *call, lambda: self.model.create_account(**definition), self.accept_account)

    def accept_account(self, answer, account):
        if account.id is None:
            if answer[0] in self.model.accounts:
                raise Mismatch(f'the model says that this is a new account, the server has {answer[0]}')
            account.id = answer[0]
            self.model.put(self.model.accounts, account.id, account)
            pool = self.pools[account.currency]
            if len(pool) < len(POOLS[account.currency]):
                pool.append(account)
            else:
                pool[self.random.randrange(len(pool))] = account
        self.accept_number(answer, account.id)

    def close(self):
        currency = self.random.choice(['EUR', 'EUR', 'USD', 'KRW'])
        account_id = self.pick_account(currency) if not self.chance(0.02) else NOBODY
        account = self.model.accounts.get(account_id)
        if account and account.balance() != 0 and self.chance(0.5):
            return self.sweep(account)
        committed = self.level in (None, 'READ COMMITTED')
        hot = [a for a in self.pools['EUR'] if a.hot]
        empty = [a for a in self.pools[currency] if a.balance() == 0 and not a.held_debits and not a.held_credits]
        if hot and not committed:
            account_id = self.random.choice(hot).id
        elif empty and self.chance(0.5):
            account_id = self.random.choice([a for a in empty if a.lines] or empty).id
        return Operation('close', 'SELECT payments.close_account(%s) AS a', (account_id,),
                         lambda: self.model.close_account(account_id, committed), lambda answer, _: self.retire(account_id), (account_id,))

    def sweep(self, account):
        """To have accounts with a past to close."""
        debits, credits = account.sums()
        other = self.random.choice(self.pools[account.currency]).id
        pair = (other, account.id) if debits > credits else (account.id, other)
        return self.post(Element(*pair, abs(debits - credits), balancing=self.chance(0.5)))

    def retire(self, account_id):
        account = self.model.accounts[account_id]
        pool = self.pools[account.currency]
        if account in pool and account.closed:
            pool.remove(account)
            self.keep(self.closed, account)

    def set_hot(self):
        currency = self.random.choice(['EUR', 'EUR', 'KRW'])
        # Parts have counters of a size of their own, which the model does not know.
        able = [a for a in self.pools[currency] if not a.history and (currency == 'EUR' or (a.low is None and a.high is None))]
        account_id = self.random.choice(able).id if able and self.chance(0.9) else self.pick_account(currency)
        account = self.model.accounts.get(account_id)
        # Mostly so that about as many are hot as there were at first.
        hot = sum(a.hot for a in self.pools[currency]) < sum(t[1] for t in POOLS[currency]) if self.chance(0.7) else self.chance(0.5)
        limited = account is not None and (account.low is not None or account.high is not None)
        parts = None
        if currency == 'EUR' and (hot and limited if self.chance(0.9) else self.chance(0.5)):
            parts = self.random.choice([2, 3, 8, 64]) if self.chance(0.95) else 1
        committed = self.level in (None, 'READ COMMITTED')
        return Operation('set_hot', 'SELECT payments.set_account_hot(%s, %s, %s) AS a', (account_id, hot, parts),
                         lambda: self.model.set_account_hot(account_id, hot, parts, committed), self.accept_number, (account.id,) if account else ())

    def fold(self):
        return Operation('fold', 'SELECT payments.fold_hot_accounts(1000000) AS a', (), self.model.fold, self.accept_number,
                         [a.id for a in self.pools['EUR'] if a.hot])
