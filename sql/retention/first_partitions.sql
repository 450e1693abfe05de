-- The months of partitioned tables, after guards and comments, so that each gets its own.
DO $partitions$
DECLARE
	name text;
BEGIN
	-- They are gone when the extension was dropped in between.
	FOR name IN SELECT p.partition FROM payments._partitions() p
	LOOP
		PERFORM payments._guard_partition(name);
	END LOOP;
	PERFORM payments._make_partitions('3 months', NULL);
END
$partitions$;
