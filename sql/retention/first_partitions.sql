-- The months of partitioned tables, after guards and comments, so that each gets its own.
DO $partitions$
DECLARE
	name text;
BEGIN
	-- They are gone when the extension was dropped in between.
	FOR name IN
		SELECT p.partition
		FROM payments._partitions() p
		WHERE NOT EXISTS (
			SELECT FROM pg_trigger t
			WHERE t.tgrelid = to_regclass('payments.' || quote_ident(p.partition))
			AND t.tgname = 'guard_truncate'
			AND t.tgenabled = 'A'
		)
	LOOP
		PERFORM payments._guard_partition(name);
	END LOOP;
	PERFORM payments._make_partitions('3 months', NULL);
END
$partitions$;
