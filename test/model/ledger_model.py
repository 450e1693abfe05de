"""
What the ledger promises, in a few hundred lines of Python and in memory.

Written from docs/ledger.md and the COMMENTs of the verbs, not from the C code:
amounts are integers without an end, largest amounts are computed instead of
searched, one posting is looked at after the other.  run.py runs the same
operations against this and against a server, and compares.

A verb returns what the server should answer, or raises Refused.  Ids are the
server's to choose: a new Posting or Hold has id None until run.py fills it in,
and a repetition returns the object that it repeats.

Every change can be undone: mark() and undo_to() are what savepoints and
rollbacks need.
"""

INT8_MAX = 2 ** 63 - 1
HOT_COUNTER_MAX = 2 ** 62           # what is not folded yet has the other half
AMOUNT_MAX = 10 ** 15 - 1           # the largest amount on a hot account
DEBIT_NORMAL = ('asset', 'expense')
SAME = object()

# Rules that can be broken on purpose (run.py --sabotage): each must be noticed.
SABOTAGES = ('limits', 'held', 'burned', 'repeats', 'groups', 'rest', 'expiry', 'rollback', 'overflow', 'fold')


class Refused(Exception):
    def __init__(self, code, field=None):
        super().__init__(code)
        self.code = code
        self.field = field          # PY206: which field differs; None: not looked at


class Moment:
    """A time at which holds expire.  Whether it has passed is for run.py to say: the model has no clock."""
    def __init__(self, text, passed=False):
        self.text = text
        self.passed = passed


class Account:
    __slots__ = ('id', 'merchant', 'code', 'currency', 'type', 'hot', 'low', 'high', 'history', 'parts', 'closed', 'debits', 'credits',
                 'fresh_debits', 'fresh_credits', 'tail_debits', 'tail_credits', 'tail_rows', 'held_debits', 'held_credits', 'lines')

    def __init__(self, merchant, code, currency, type_, hot, low, high, history, parts):
        self.id = None
        self.merchant, self.code, self.currency, self.type = merchant, code, currency, type_
        self.hot, self.low, self.high, self.history, self.parts = hot, low, high, history, parts
        self.closed = False
        self.debits = self.credits = 0                  # the row's; of a hot account, what has been folded
        self.fresh_debits = self.fresh_credits = 0      # of a hot account: by the call that is running
        self.tail_debits = self.tail_credits = 0        # of a hot account: by calls since the last folding; of a split one, by its parts
        self.tail_rows = 0
        self.held_debits = self.held_credits = 0
        self.lines = []                                 # its postings, in order

    def sums(self):
        return self.debits + self.fresh_debits + self.tail_debits, self.credits + self.fresh_credits + self.tail_credits

    def balance(self):
        debits, credits = self.sums()
        return debits - credits if self.type in DEBIT_NORMAL else credits - debits


class Group:
    """Postings that are made together, or were refused together."""
    def __init__(self):
        self.postings = []          # those made


class Posting:
    """One that was made, or, with an error, one that was refused for good under its reference."""
    __slots__ = ('id', 'debit', 'credit', 'asked', 'amount', 'balancing', 'kind', 'effective_at', 'imported', 'description', 'reference',
                 'group', 'reverses', 'reversed_by', 'hold', 'final', 'error')

    def __init__(self, element, debit, credit, amount, group, error=None):
        self.id = None
        self.debit, self.credit, self.amount, self.group, self.error = debit, credit, amount, group, error
        self.asked, self.balancing, self.kind = element.amount, element.balancing, element.kind
        self.effective_at, self.imported, self.description = element.effective_at, element.imported, element.description
        self.reference, self.reverses, self.hold, self.final = element.reference, element.reverses, element.hold, element.final
        self.reversed_by = None

    def __repr__(self):
        return f'posting {self.id or "(new)"} of {self.amount}'


class Element:
    """A posting as it is asked for."""
    __slots__ = ('debit', 'credit', 'amount', 'reference', 'description', 'kind', 'effective_at', 'backdated', 'imported', 'balancing', 'link',
                 'reverses', 'hold', 'final', 'released')

    def __init__(self, debit, credit, amount, reference=None, description=None, kind='manual', effective_at=None, backdated=False,
                 imported=False, balancing=False, link=None, reverses=None, hold=None, final=None, released=0):
        self.debit, self.credit, self.amount, self.reference, self.description, self.kind = debit, credit, amount, reference, description, kind
        self.effective_at, self.backdated, self.imported, self.balancing, self.link = effective_at, backdated, imported, balancing, link
        self.reverses, self.hold, self.final, self.released = reverses, hold, final, released


class Hold:
    __slots__ = ('id', 'debit', 'credit', 'asked', 'amount', 'balancing', 'reference', 'description', 'expires_at', 'remaining', 'last', 'seq')

    def __init__(self, debit, credit, asked, amount, balancing, reference, description, expires_at):
        self.id = None
        self.debit, self.credit, self.asked, self.amount, self.balancing = debit, credit, asked, amount, balancing
        self.reference, self.description, self.expires_at = reference, description, expires_at
        self.remaining, self.last, self.seq = amount, None, 0

    def __repr__(self):
        return f'hold {self.id or "(new)"} of {self.amount}'


class Outcome:
    """Of one element of a batch."""
    __slots__ = ('posting', 'error')

    def __init__(self, posting=None, error=None):
        self.posting, self.error = posting, error


def bad_text(text, longest, may_be_empty=False):
    """What any verb says of a text."""
    if text is None or (text == '' and may_be_empty):
        return None
    if not 1 <= len(text.encode()) <= longest:
        return '22023'
    return 'PY009' if holds_card(text) else None


def holds_card(text):
    return text is not None and '4111 1111 1111 1111' in text


def refuse_cards(*texts):
    """What every verb looks at before anything else."""
    if any(map(holds_card, texts)):
        raise Refused('PY009')


class Model:
    def __init__(self, sabotage=None):
        assert sabotage is None or sabotage in SABOTAGES
        self.sabotage = sabotage
        self.accounts = {}          # id -> Account
        self.codes = {}             # (merchant, code, currency) -> Account
        self.references = {}        # (merchant, reference) -> Posting
        self.postings = {}          # id -> Posting, by run.py
        self.holds = {}             # id -> Hold, by run.py
        self.hold_references = {}   # (merchant, reference) -> Hold
        self.due = {}               # Hold -> True: open, and can expire
        self.made = []              # postings since somebody emptied it
        self.refused = []           # postings refused for good, likewise
        self.resolved = []          # (hold, seq, kind, posting, asked, final, posted, released, remaining), likewise
        self.undo = []

    # ---- changes, and taking them back ----

    def mark(self):
        return len(self.undo)

    def undo_to(self, mark):
        if self.sabotage == 'rollback':
            mark = min(mark + 1, len(self.undo))
        while len(self.undo) > mark:
            target, name, old = self.undo.pop()
            if name is None:
                target.pop()
            elif isinstance(target, dict):
                if old is SAME:
                    del target[name]
                else:
                    target[name] = old
            else:
                setattr(target, name, old)

    def forget_undo(self):
        self.undo.clear()

    def set(self, target, name, value):
        self.undo.append((target, name, getattr(target, name)))
        setattr(target, name, value)

    def add(self, target, name, amount):
        self.set(target, name, getattr(target, name) + amount)

    def put(self, target, key, value):
        self.undo.append((target, key, target.get(key, SAME)))
        target[key] = value

    def drop(self, target, key):
        self.undo.append((target, key, target[key]))
        del target[key]

    def append(self, target, value):
        self.undo.append((target, None, None))
        target.append(value)

    # ---- accounts ----

    def create_account(self, merchant, code, currency, type_, hot, low, high, history, parts):
        refuse_cards(code)
        if bad_text(code, 200):
            raise Refused(bad_text(code, 200))
        limited = low is not None or high is not None
        if (parts is not None) != (hot and limited) or (parts is not None and not 2 <= parts <= 64) or (hot and history):
            raise Refused('22023')
        if (low is not None and low > 0) or (high is not None and high < 0):
            raise Refused('22023')
        old = self.codes.get((merchant, code, currency))
        if old:
            if (old.type, old.low, old.high, old.history) != (type_, low, high, history):
                raise Refused('PY015')
            return old
        account = Account(merchant, code, currency, type_, hot, low, high, history, parts)
        self.put(self.codes, (merchant, code, currency), account)
        return account

    def account(self, account_id):
        if account_id not in self.accounts:
            raise Refused('PY202')
        return self.accounts[account_id]

    def close_account(self, account_id, read_committed=True):
        account = self.account(account_id)
        if account.hot and not read_committed:
            raise Refused('25001')
        if account.closed:
            return
        if account.held_debits or account.held_credits or account.balance() != 0:
            raise Refused('PY204')
        self.set(account, 'closed', True)

    def set_account_hot(self, account_id, hot, parts=None, read_committed=True):
        account = self.account(account_id)
        if parts is not None and not (hot and 2 <= parts <= 64):
            raise Refused('22023')
        if account.hot and not read_committed:
            raise Refused('25001')
        if account.hot == hot:
            return False
        if account.closed:
            raise Refused('PY203')
        if account.history or (hot and (account.low is not None or account.high is not None) != (parts is not None)):
            raise Refused('22023')
        if account.held_debits or account.held_credits:
            raise Refused('PY204')
        self.set(account, 'hot', hot)
        self.set(account, 'parts', parts)
        self.fold_one(account)
        return True

    def fold(self):
        """Deltas into rows; how many there were."""
        return sum(self.fold_one(account) for account in self.accounts.values())

    def fold_one(self, account):
        rows = account.tail_rows
        if account.parts is None and (account.tail_debits or account.tail_credits):
            self.add(account, 'debits', account.tail_debits)
            self.add(account, 'credits', account.tail_credits)
            self.set(account, 'tail_debits', 1 if self.sabotage == 'fold' else 0)
            self.set(account, 'tail_credits', 0)
            self.set(account, 'tail_rows', 0)
        return rows

    # ---- what an account lets pass ----

    def rooms(self, account, side, released=0):
        """How much more can be debited (or credited), with what is said beyond that; in the order in which it is looked at."""
        held = (account.held_debits if side == 'debits' else account.held_credits) - released
        if side == 'debits':
            counter = account.debits + account.fresh_debits
        else:
            counter = account.credits + account.fresh_credits
        if self.sabotage == 'overflow':
            counter -= 1
        yield (HOT_COUNTER_MAX if account.hot else INT8_MAX) - counter - held, 'PY205'
        if account.hot:
            yield AMOUNT_MAX, 'PY205'
        if self.sabotage == 'held':
            held = 0
        grows = (side == 'debits') == (account.type in DEBIT_NORMAL)
        slip = 1 if self.sabotage == 'limits' else 0
        if grows and account.high is not None:
            yield account.high - account.balance() - held, 'PY204'
        if not grows and account.low is not None:
            yield account.balance() - held - account.low + slip, 'PY204'

    def room(self, debit, credit):
        """The largest amount that both let pass; zero or less: none."""
        return min(room for account, side in ((debit, 'debits'), (credit, 'credits')) for room, _ in self.rooms(account, side))

    def refusal(self, debit, credit, amount, released=0):
        for account, side in ((debit, 'debits'), (credit, 'credits')):
            if account.closed:
                return 'PY203'
            for room, code in self.rooms(account, side, released):
                if amount > room:
                    return code
        return None

    # ---- postings ----

    def invalid(self, e):
        """What can be said without a look at balances and references."""
        if not e.debit or not e.credit or e.amount is None or e.amount <= 0 or e.debit == e.credit or e.effective_at == 'infinity':
            return '22023'
        texts = (bad_text(e.reference, 255), bad_text(e.description, 1000, may_be_empty=True), bad_text(e.kind, 63))
        if any(texts):
            return '22023' if '22023' in texts else 'PY009'
        if e.debit not in self.accounts or e.credit not in self.accounts:
            return 'PY202'
        if self.accounts[e.debit].currency != self.accounts[e.credit].currency:
            return 'PY201'
        return None

    def key(self, e):
        return (self.accounts[e.debit].merchant, e.reference) if e.reference is not None else None

    @staticmethod
    def difference(e, grouped, old):
        """The first field in which a posting differs from the one that has its reference."""
        for field, mine, theirs in (
                ('reverses', e.reverses, old.reverses), ('debit', e.debit, old.debit.id), ('credit', e.credit, old.credit.id),
                ('amount', e.amount, old.asked), ('balancing', e.balancing, old.balancing), ('kind', e.kind, old.kind),
                ('effective_at', e.effective_at, old.effective_at), ('imported', e.imported, old.imported),
                ('groups', grouped, old.group is not None), ('description', e.description or '', old.description or '')):
            if mine != theirs:
                return field
        return None

    def decide(self, e, group=None):
        """Posts it if its accounts let it; the Posting, with an error if they do not."""
        debit, credit = self.accounts[e.debit], self.accounts[e.credit]
        amount = e.amount
        if e.balancing:
            amount = max(1, min(amount, self.room(debit, credit)))
        error = '22023' if e.backdated and not e.imported else self.refusal(debit, credit, amount, e.released)
        posting = Posting(e, debit, credit, amount, group, error)
        if error is None:
            for account, side in ((debit, 'debits'), (credit, 'credits')):
                self.add(account, ('fresh_' if account.hot else '') + side, amount)
                if e.released:
                    self.add(account, 'held_' + side, - e.released)
                self.append(account.lines, posting)
            self.append(self.made, posting)
        return posting

    def take(self, e, posting):
        """The reference is this posting's from now on, also if it was refused."""
        key = self.key(e)
        if key is None or (posting.error and self.sabotage == 'burned'):
            return
        self.put(self.references, key, posting)
        if posting.error:
            self.append(self.refused, posting)

    def end_of_call(self, elements):
        """What was posted to hot accounts by one call is one row each."""
        for account_id in {e.debit for e in elements} | {e.credit for e in elements}:
            account = self.accounts.get(account_id)
            if account and (account.fresh_debits or account.fresh_credits):
                self.add(account, 'tail_debits', account.fresh_debits)
                self.add(account, 'tail_credits', account.fresh_credits)
                if account.parts is None:
                    self.add(account, 'tail_rows', 1)
                self.set(account, 'fresh_debits', 0)
                self.set(account, 'fresh_credits', 0)

    def post(self, e):
        """post(), and what else is a posting on its own: raises instead of remembering refusals."""
        refuse_cards(e.reference, e.description, e.kind)
        error = self.invalid(e)
        if error:
            raise Refused(error)
        old = self.references.get(self.key(e))
        if old and self.sabotage != 'repeats':
            field = self.difference(e, False, old)
            if field:
                raise Refused('PY206', field)
            if old.error:
                raise Refused(old.error)
            return old
        posting = self.decide(e)
        if posting.error:
            raise Refused(posting.error)
        self.take(e, posting)
        self.end_of_call([e])
        return posting

    def post_batch(self, elements, all_or_nothing=False):
        groups = self.groups(elements)
        errors = [self.invalid(e) for e in elements]
        if all_or_nothing and any(errors):
            raise Refused(next(error for error in errors if error))
        mark = self.mark()
        here = {}                   # references that this call has met: what it made of them
        outcomes = []
        for group in groups:
            first = len(outcomes)
            if len(group) == 1:
                outcomes.append(self.post_alone(group[0], errors[first], here))
            else:
                outcomes += self.post_group(group, errors[first:first + len(group)], here)
        failed = [o.error for o in outcomes if o.error]
        if all_or_nothing and failed:
            self.undo_to(mark)
            raise Refused(next((error for error in failed if error != 'PY215'), 'PY215'))
        self.end_of_call(elements)
        return outcomes

    @staticmethod
    def groups(elements):
        """Runs of neighbours of one number; one of one is a posting on its own."""
        groups, seen = [], set()
        previous = None
        for e in elements:
            if e.link is not None and e.link <= 0:
                raise Refused('22023')
            if e.link is not None and e.link == previous:
                if (e.reference is None) != (groups[-1][-1].reference is None):
                    raise Refused('22023')
                groups[-1].append(e)
            else:
                if e.link in seen:
                    raise Refused('22023')
                groups.append([e])
            if e.link is not None:
                seen.add(e.link)
            previous = e.link
        return groups

    def post_alone(self, e, error, here):
        if error:
            return Outcome(error=error)
        key = self.key(e)
        old = here.get(key) or self.references.get(key)
        if old:
            here.setdefault(key, old)
            if self.difference(e, False, old):
                return Outcome(error='PY206')
            return Outcome(old, old.error)
        posting = self.decide(e)
        if key:
            here[key] = posting
            self.take(e, posting)
        return Outcome(posting, posting.error)

    def post_group(self, group, errors, here):
        if any(errors):
            return [Outcome(error=error or 'PY215') for error in errors]
        outcomes = []
        old = None                  # the group that this one repeats
        placeholder = Group()
        for e in group:
            key = self.key(e)
            known = None if key in here else self.references.get(key)
            if key in here or (known and self.difference(e, True, known)):
                outcomes.append(Outcome(error='PY206'))
            elif known:
                old = known.group
                outcomes.append(Outcome(known, known.error))
            else:
                outcomes.append(None)
            if key:                 # a second one in this group is another content, whatever becomes of the first
                here.setdefault(key, known or Posting(e, self.accounts[e.debit], self.accounts[e.credit], e.amount, placeholder))
        if old is not None:
            return [self.repeat(e, outcome, old, here) for e, outcome in zip(group, outcomes)]
        return self.try_group(group, outcomes, here)

    def repeat(self, e, outcome, old, here):
        """A group is repeated as a whole: what is new in it, or of another group, is another content."""
        if outcome is None:
            return self.refuse(e, 'PY206', old, here)
        if outcome.posting and outcome.posting.group is not old:
            return Outcome(error='PY206')
        return outcome

    def refuse(self, e, error, group, here):
        posting = Posting(e, self.accounts[e.debit], self.accounts[e.credit], 0, group, error)
        self.take(e, posting)
        if self.key(e):
            here[self.key(e)] = posting
        return Outcome(posting, error)

    def try_group(self, group, outcomes, here):
        """All or none: the first that cannot be posted keeps back those before and after it."""
        mark = self.mark()
        mine = Group()
        made = []
        failed = None
        for e, outcome in zip(group, outcomes):
            posting = None if outcome else self.decide(e, mine)
            made.append(posting)
            if outcome or posting.error:
                failed = len(made) - 1
                break
        if failed is None:
            for e, posting in zip(group, made):
                if self.key(e):
                    here[self.key(e)] = posting
                self.take(e, posting)
            mine.postings = made
            return [Outcome(posting) for posting in made]
        if self.sabotage != 'groups':
            self.undo_to(mark)
        cause = outcomes[failed].error if outcomes[failed] else made[failed].error
        return [outcome or self.refuse(e, cause if i == failed else 'PY215', mine, here)
                for i, (e, outcome) in enumerate(zip(group, outcomes))]

    # ---- transactions of many legs ----

    def post_transaction(self, legs, reference=None, description=None, kind='manual', effective_at=None, backdated=False, imported=False):
        # Else it is refused with the first leg that fails, as any leg is.
        if not legs or (reference is not None and not 1 <= len(reference.encode()) <= 248):
            refuse_cards(reference, description, kind)
            raise Refused('22023')
        elements = [Element(debit, credit, amount, None if reference is None else f'{reference}:{i}', description, kind, effective_at, backdated,
                            imported, link=1 if len(legs) > 1 else None)
                    for i, (debit, credit, amount) in enumerate(legs, 1)]
        first = self.post_batch(elements, all_or_nothing=True)[0].posting
        if reference is not None and len(legs) > 1 and len(first.group.postings) != len(legs):
            raise Refused('PY206')
        return first

    def reverse_transaction(self, transaction_id, reason, reference=None):
        """All legs, the last first."""
        refuse_cards(reason, reference)
        first = self.postings.get(transaction_id)
        if first is None or (first.group and first.group.postings[0] is not first):
            raise Refused('PY213')
        legs = first.group.postings[::-1] if first.group else [first]
        if any(leg.reverses for leg in legs):
            raise Refused('PY212')
        for error in (bad_text(reason, 1000), bad_text(reference, 248)):
            if error:
                raise Refused(error)
        elements = [Element(leg.credit.id, leg.debit.id, leg.amount, None if reference is None else f'{reference}:{i}', reason, 'reversal',
                            link=1 if len(legs) > 1 else None, reverses=leg) for i, leg in enumerate(legs, 1)]
        for leg, e in zip(legs, elements):
            if leg.reversed_by and (reference is None or leg.reversed_by.reference != e.reference):
                raise Refused('PY211')
        outcomes = self.post_batch(elements, all_or_nothing=True)
        for leg, outcome in zip(legs, outcomes):
            if not leg.reversed_by:
                self.set(leg, 'reversed_by', outcome.posting)
        return outcomes[0].posting

    # ---- holds ----

    def hold(self, debit_id, credit_id, amount, reference=None, expires_at=None, description=None, balancing=False):
        refuse_cards(reference, description)
        if amount <= 0 or debit_id == credit_id:
            raise Refused('22023')
        for error in (bad_text(reference, 255), bad_text(description, 1000)):
            if error:
                raise Refused(error)
        debit, credit = self.account(debit_id), self.account(credit_id)
        if debit.currency != credit.currency:
            raise Refused('PY201')
        if debit.hot or credit.hot:
            raise Refused('22023')
        key = (debit.merchant, reference)
        old = self.hold_references.get(key) if reference is not None else None
        if old:
            for field, mine, theirs in (('debit', debit, old.debit), ('credit', credit, old.credit), ('amount', amount, old.asked),
                                        ('expires_at', expires_at, old.expires_at), ('description', description, old.description),
                                        ('balancing', balancing, old.balancing)):
                if mine != theirs:
                    raise Refused('PY206', field)
            return old
        if expires_at and expires_at.passed:
            raise Refused('22023')
        held = max(1, min(amount, self.room(debit, credit))) if balancing else amount
        error = self.refusal(debit, credit, held)
        if error:
            raise Refused(error)
        hold = Hold(debit, credit, amount, held, balancing, reference, description, expires_at)
        if reference is not None:
            self.put(self.hold_references, key, hold)
        if expires_at:
            self.put(self.due, hold, True)
        self.add(debit, 'held_debits', held)
        self.add(credit, 'held_credits', held)
        return hold

    def require_open(self, hold):
        if hold.remaining == 0:
            raise Refused('PY210' if hold.last == 'expire' else 'PY209')
        if hold.expires_at and hold.expires_at.passed and self.sabotage != 'expiry':
            raise Refused('PY210')

    def resolve(self, hold, kind, posted, released, posting=None, asked=None, final=True):
        self.set(hold, 'seq', hold.seq + 1)
        self.set(hold, 'last', kind)
        self.add(hold, 'remaining', - posted - released)
        self.append(self.resolved, (hold, hold.seq, kind, posting, asked, final, posted, released, hold.remaining))
        if hold.remaining == 0 and hold in self.due:
            self.drop(self.due, hold)

    def post_hold(self, hold_id, amount=None, final=True, reference=None):
        refuse_cards(reference)
        if amount is not None and amount <= 0:
            raise Refused('22023')
        if bad_text(reference, 255):
            raise Refused(bad_text(reference, 255))
        hold = self.holds.get(hold_id)
        if hold is None:
            raise Refused('PY208')
        old = self.references.get((hold.debit.merchant, reference)) if reference is not None else None
        if old:
            of, asked = old.hold or (None, None)
            for field, mine, theirs in (('hold_id', hold, of), ('amount', amount, asked), ('final', final, old.final)):
                if mine != theirs:
                    raise Refused('PY206', field)
            return old
        self.require_open(hold)
        if amount is not None and amount > hold.remaining:
            raise Refused('PY214')
        posted = hold.remaining if amount is None else amount
        released = hold.remaining if final and self.sabotage != 'rest' else posted
        e = Element(hold.debit.id, hold.credit.id, posted, reference, hold.description, 'hold', hold=(hold, amount), final=final, released=released)
        posting = self.decide(e)
        assert posting.error is None, f'hold {hold_id} could not be posted: {posting.error}'
        self.take(e, posting)
        self.resolve(hold, 'post', posted, released - posted, posting, amount, final)
        return posting

    def void_hold(self, hold_id, reason=None):
        refuse_cards(reason)
        if bad_text(reason, 1000):
            raise Refused(bad_text(reason, 1000))
        hold = self.holds.get(hold_id)
        if hold is None:
            raise Refused('PY208')
        self.require_open(hold)
        return self.give_back(hold, 'void')

    def give_back(self, hold, kind):
        released = hold.remaining
        self.add(hold.debit, 'held_debits', - released)
        self.add(hold.credit, 'held_credits', - released)
        self.resolve(hold, kind, 0, released)
        return released

    def release_expired(self):
        gone = [hold for hold in self.due if hold.expires_at.passed]
        for hold in gone:
            self.give_back(hold, 'expire')
        return len(gone)

    # ---- reversals ----

    def reverse(self, posting_id, reason, reference=None):
        refuse_cards(reason, reference)
        original = self.postings.get(posting_id)
        if original is None:
            raise Refused('PY213')
        if original.reverses:
            raise Refused('PY212')
        for error in ('22023' if reason is None else None, bad_text(reason, 1000), bad_text(reference, 255)):
            if error:
                raise Refused(error)
        if original.reversed_by and (reference is None or original.reversed_by.reference != reference):
            raise Refused('PY211')
        reversal = self.post(Element(original.credit.id, original.debit.id, original.amount, reference, reason, 'reversal', reverses=original))
        if not original.reversed_by:
            self.set(original, 'reversed_by', reversal)
        return reversal
