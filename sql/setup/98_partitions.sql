-- The months of partitioned tables, after guards and comments, so that each gets its own.
DO $partitions$
BEGIN
	PERFORM payments._make_partitions('3 months', NULL);
END
$partitions$;
