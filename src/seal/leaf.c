/*
 * src/seal/leaf.c
 *		The leaves of sealed rows, as table seal_leaf keeps them.
 *
 * Chunk number c holds the leaves from c * CHUNK_LEAVES on, 32 bytes each, so
 * a table of any size is written and read in bounded memory.  What is read may
 * have been tampered with: no chunk is trusted to have its length.
 */
#include "payments.h"

#include "seal/leaf.h"

#include "core/spi.h"

/* Leaves kept in one row: 128 kB.  Never changes: chunks that are there have it. */
#define CHUNK_LEAVES 4096

struct PayLeafWriter
{
	int64		block;
	const char *name;
	int			chunk;
	int			n;
	PayHash		leaves[CHUNK_LEAVES];
};

static void flush(PayLeafWriter *writer);

static PayStmt insert_chunk = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.seal_leaf (block, name, chunk, leaves) VALUES ($1, $2, $3, $4)", INT8OID, TEXTOID, INT4OID, BYTEAOID);
static PayStmt read_chunk = PAY_STMT(SPI_OK_SELECT,
	"SELECT leaves FROM payments.seal_leaf WHERE block = $1 AND name = $2 AND chunk = $3", INT8OID, TEXTOID, INT4OID);

PayLeafWriter *
pay_leaf_writer_begin(int64 block, const char *name)
{
	PayLeafWriter *writer = palloc(sizeof(PayLeafWriter));

	writer->block = block;
	writer->name = name;
	writer->chunk = 0;
	writer->n = 0;
	return writer;
}

void
pay_leaf_write(PayLeafWriter *writer, const PayHash *leaf)
{
	writer->leaves[writer->n++] = *leaf;
	if (writer->n == CHUNK_LEAVES)
		flush(writer);
}

void
pay_leaf_writer_end(PayLeafWriter *writer)
{
	if (writer->n > 0)
		flush(writer);
	pfree(writer);
}

static void
flush(PayLeafWriter *writer)
{
	PayArgs		args = {0};

	pay_arg_int64(&args, writer->block);
	pay_arg_text(&args, writer->name);
	pay_arg_int32(&args, writer->chunk++);
	pay_arg_bytes(&args, writer->leaves, sizeof(PayHash) * writer->n);
	pay_spi_exec(&insert_chunk, &args);
	pfree(DatumGetPointer(args.values[3]));
	writer->n = 0;
}

void
pay_leaf_reader_begin(PayLeafReader *reader, int64 block, const char *name, int64 rows)
{
	reader->block = block;
	reader->name = name;
	reader->rows = rows;
	reader->chunk = -1;
	reader->n = 0;
	reader->leaves = NULL;
}

const PayHash *
pay_leaf_at(PayLeafReader *reader, int64 i)
{
	int64		chunk = i / CHUNK_LEAVES;
	PayArgs		args = {0};
	bytea	   *value;

	Assert(i >= 0);
	if (i >= reader->rows)
		return NULL;
	if (chunk != reader->chunk)
	{
		if (reader->leaves)
			pfree(reader->leaves);
		reader->leaves = NULL;
		reader->n = 0;
		reader->chunk = chunk;
		pay_arg_int64(&args, reader->block);
		pay_arg_text(&args, reader->name);
		pay_arg_int32(&args, (int32) chunk);
		if (pay_spi_exec(&read_chunk, &args) == 1 && (value = pay_spi_bytea(0, 1)) != NULL)
		{
			reader->n = (int) (VARSIZE_ANY_EXHDR(value) / PAY_HASH_BYTES);
			reader->leaves = palloc(sizeof(PayHash) * Max(reader->n, 1));
			memcpy(reader->leaves, VARDATA_ANY(value), sizeof(PayHash) * reader->n);
			pfree(value);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	return i % CHUNK_LEAVES < reader->n ? &reader->leaves[i % CHUNK_LEAVES] : NULL;
}

void
pay_leaf_reader_end(PayLeafReader *reader)
{
	if (reader->leaves)
		pfree(reader->leaves);
	reader->leaves = NULL;
	reader->chunk = -1;
}

bool
pay_leaf_hash_copy(const bytea *value, PayHash *hash)
{
	memset(hash, 0, sizeof(PayHash));
	if (value == NULL || VARSIZE_ANY_EXHDR(value) != PAY_HASH_BYTES)
		return false;
	memcpy(hash->bytes, VARDATA_ANY(value), PAY_HASH_BYTES);
	return true;
}

void
pay_leaf_hash(const bytea *value, PayHash *hash)
{
	if (!pay_leaf_hash_copy(value, hash))
		ereport(ERROR,
				(errcode(PAY_ERR_SEAL_BROKEN),
				 errmsg("a stored hash is not 32 bytes long"),
				 errhint("Somebody has written into the seals; SELECT * FROM payments.verify() says where.")));
}
