"""The parts of the table, in their order."""

import lock_rows
import memory_rows
import pipe_rows
import pool_rows
import process_rows
import queue_rows

PARTS = (queue_rows.ROWS, pipe_rows.ROWS, lock_rows.ROWS, pool_rows.ROWS, process_rows.ROWS,
         memory_rows.ROWS)
