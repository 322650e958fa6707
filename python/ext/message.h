/*
 * Python objects as the bytes of a message, and back: what Queue and Pool send.
 *
 *    N T F                        None, True, False
 *    i 8 bytes     f 8 bytes      an int of 64 bits; a float
 *    b length, bytes              s kind (1, 2, 4), length, code units        (lengths: 8 bytes)
 *    t count (1 byte), that many objects                                      a tuple
 *    p struct pickled_head, handles, lengths of buffers, pickle, buffers      all others
 *
 * M1  no byte behind the message is read, whatever its lengths and counts say
 * M2  what is read is the reader's own: nothing of it points into the message
 * M3  each handle in a message is sent once (piu_handle_send), and landed once: by
 *     message_read(), or by message_drop() where the message was not put
 */
#ifndef PIU_EXT_MESSAGE_H
#define PIU_EXT_MESSAGE_H

#include "pickled.h"

/* Up to this many bytes a message is made on the stack, as the core copies it into its ring. */
#define MESSAGE_SMALL 4096u

struct message {
    PyObject *object; /* borrowed */
    size_t size;
    struct pickled *pickle; /* NULL: written without one */
    struct pickled space;
    unsigned char small[MESSAGE_SMALL];
};

/*
 * 0: its size is known, and if that is at most MESSAGE_SMALL its bytes are in `small`.
 * -1 with an exception: it cannot be pickled, and nothing is left to be dropped.
 */
int message_make(struct module_state *state, struct message *m, PyObject *object);
/* Write a message that is not small: `size` bytes.  The GIL is released where it takes long. */
int message_write(struct message *m, unsigned char *place);
void message_done(struct message *m); /* it was put: its handles travel */
void message_drop(struct message *m); /* it was not */

/* A new object; NULL with an exception: what unpickling raised, or ValueError: no message. */
PyObject *message_read(struct module_state *state, const unsigned char *bytes,
                       size_t size);

int message_functions_add(PyObject *module);

#endif
