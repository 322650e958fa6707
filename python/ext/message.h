/*
 * Python objects as the bytes of a message, and back: what Queue and Pool send.
 *
 *    N T F                        None, True, False
 *    i 8 bytes     j 4 bytes      an int of 64 bits, of 32 bits
 *    f 8 bytes                    a float
 *    b length, bytes              s kind (1, 2, 4), length, code units        (lengths: 8 bytes)
 *    t l count, that many objects (the count: 8 bytes)     a tuple; a list, outermost alone: pickle
 *                                                          keeps apart or together those within
 *    p struct pickled_head, handles, lengths of buffers, pickle, buffers      all others
 *
 * M1  no byte behind the message is read, whatever its lengths and counts say
 * M2  what is read is the reader's own: nothing of it points into the message
 * M3  each handle in a message is sent once (piu_handle_send), and landed once: when the message
 *     has left its queue for good and will not be read again, or by message_drop() where it was
 *     not put.  Until then the message's count keeps the object, however often it is read
 * Crash: killed before the message is dropped from its queue, it comes again with all its counts;
 * killed after that, before it is landed, the objects are kept to the end of the family.
 */
#ifndef PIU_EXT_MESSAGE_H
#define PIU_EXT_MESSAGE_H

#include "pickled.h"

/* Up to this many bytes a message is made on the stack, as the core copies it into its ring. */
#define MESSAGE_SMALL 4096u

struct message {
    PyObject *object; /* borrowed */
    PyObject *copy;   /* of a large list, which others may change meanwhile; NULL */
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

/*
 * A new object, with holds of its own; NULL with an exception: what unpickling raised, or
 * ValueError: no message.  Then, read well or badly, one of the two below, once.
 */
PyObject *message_read(struct module_state *state, const unsigned char *bytes,
                       size_t size);
/* M3: of a copy, whose message has left its queue. */
void message_land(const unsigned char *bytes, size_t size);
/* M3: drops `message`, taken from `q`, then lands: `bytes` are the part of it that was put. */
void message_release(struct piu_queue *q, void *message, const unsigned char *bytes,
                     size_t size);

int message_functions_add(PyObject *module);

#endif
