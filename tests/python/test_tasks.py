"""What a Pool and its workers share: no task is run twice and none is forgotten."""

import math
import os
import pickle
import select
import signal
import unittest

import children
import piu
from piu import _piu


def double(x):
    return x * 2


def same(x):
    return x


def die(*_):
    children.die()


def fail(*_):
    raise KeyError('of the task')


def interrupt():
    if Interrupting.left:
        Interrupting.left -= 1
        raise KeyboardInterrupt
    return 'read'


class Interrupting:
    left = 0  # readings that Ctrl-C cuts off

    def __reduce__(self):
        return interrupt, ()


class Collecting:
    """Waits for others where it is unpickled."""

    collect = int

    def __reduce__(self):
        return collect, ()


def collect():
    return Collecting.collect()


class InterruptingPickle:
    def __reduce__(self):
        return interrupt(), ()


def give_what_is_cut_off(lock, size):
    return Interrupting(), lock, bytes(size)


def bare(error, function):
    return error


def unsent(why, value):
    return TypeError(f'unsent: {why}')


def work(tasks, slot, most=0):
    tasks.work(slot, most, bare, unsent)


def work_and_die(tasks, slot, most):
    work(tasks, slot, most)
    children.die()


DOUBLE = pickle.dumps(double)
SAME = pickle.dumps(same)
LENGTH = pickle.dumps(len)
DIE = pickle.dumps(die)


def submit(tasks, number, *args, function=DOUBLE):
    tasks.submit(number, _piu.TASK_CALL, function, args)


def collected(tasks, count, jobs=()):
    inbox = []
    while len(inbox) < count:
        tasks.collect(list(jobs), inbox, True)
    return inbox


class TasksTest(unittest.TestCase):

    def test_workers_of_all_methods_do_tasks_until_shutdown(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            tasks = _piu.Tasks(2)
            for number in range(1, 21):
                submit(tasks, number, number)
            submit(tasks, 21, bytes(1 << 20))
            workers = [context.Process(target=work, args=(tasks, slot)) for slot in (0, 1)]
            for worker in workers:
                worker.start()
            results = collected(tasks, 21)
            tasks.shutdown()
            for worker in workers:
                worker.join()
                self.assertEqual(worker.exitcode, 0)
            self.assertEqual({r[0]: r[3] for r in results},
                             {**{n: n * 2 for n in range(1, 21)}, 21: bytes(2 << 20)})
            self.assertEqual({r[1] for r in results}, {_piu.DONE})
            self.assertEqual(tasks.qsize(), 0)
            self.assertEqual(tasks.finished(0) + tasks.finished(1), 21)

    def test_the_seat_of_a_killed_worker_names_what_it_had_begun(self):
        for method in children.METHODS:
            tasks = _piu.Tasks(3)
            submit(tasks, 7, 1, function=DIE)
            submit(tasks, 8, 1)
            code = children.run(piu.get_context(method), work, tasks, 2)
            self.assertEqual(code, -signal.SIGKILL)
            self.assertEqual([tasks.started(slot) for slot in range(3)], [0, 0, 7])
            tasks.clear(2)
            self.assertEqual(tasks.started(2), 0)
            work(tasks, 0, 1)  # the other one has not suffered
            self.assertEqual(collected(tasks, 1), [(8, _piu.DONE, 0, 2)])

    def test_killed_after_its_result_it_had_begun_nothing(self):
        tasks = _piu.Tasks(1)
        submit(tasks, 7, 1)
        children.run(piu.get_context('fork'), work_and_die, tasks, 0, 1)
        self.assertEqual(tasks.started(0), 0)
        self.assertEqual(collected(tasks, 1), [(7, _piu.DONE, 0, 2)])

    def test_a_worker_killed_while_it_waits_takes_no_task_with_it(self):
        tasks = _piu.Tasks(2)
        worker = piu.get_context('fork').Process(target=work, args=(tasks, 0))
        worker.start()
        submit(tasks, 1, 1)
        collected(tasks, 1)
        worker.kill()
        worker.join()
        submit(tasks, 2, 1)
        self.assertEqual(tasks.started(0), 0)
        work(tasks, 1, 1)
        self.assertEqual(collected(tasks, 1), [(2, _piu.DONE, 1, 2)])

    def test_chunks_are_filled_without_an_entry_for_each(self):
        tasks, values = _piu.Tasks(1), [None] * 10
        chunks = _piu.Chunks(5, 3, values)
        self.assertIsNone(tasks.submit_chunks(chunks, _piu.TASK_MAP, DOUBLE, list(range(10)), None, 1))
        work(tasks, 0, 4)
        self.assertEqual(collected(tasks, 1, [chunks]), [(8, _piu.COMPLETE, 0, chunks)])
        self.assertEqual(values, [n * 2 for n in range(10)])
        self.assertEqual(chunks.left, 0)

    def test_of_large_chunks_few_are_on_the_way(self):
        for items, least, given in (([bytes(1 << 20)] * 12, 1, (4, 5, 6)),
                                    ([bytes(1 << 20)] * 12, 6, (6, 7, 8)),
                                    ([bytes(4 << 20)] * 3, 1, (1, 2, 3)),
                                    ([b''] * 1000, 1, (1000,) * 3)):
            tasks, chunks = _piu.Tasks(1), _piu.Chunks(1, 1, [None] * len(items))
            for count in given:
                self.assertIsNone(
                    tasks.submit_chunks(chunks, _piu.TASK_MAP, LENGTH, items, None, least))
                self.assertEqual(chunks.given, count)
                left = chunks.left
                work(tasks, 0, 1)
                while chunks.left == left:
                    tasks.collect([chunks], [], False)

    def test_numbers_arrive_as_they_were_sent(self):
        low, high = -1 << 63, (1 << 63) - 1
        for items in ([0, -1, (1 << 31) - 1, -1 << 31], [1, 1 << 31], [low, high, 5], [1, high + 1],
                      [1.5, -0.0, math.inf, 2.0 ** -1074], [1, 1.0], [1.0, 1], [1, True], [True, 1],
                      [None, 1], [1, 'one'], range(3), range(9, -9, -4), range(low, high, 1 << 62),
                      range(high, low, -(1 << 62)), list(range(5000))):
            for kind in _piu.TASK_MAP, _piu.TASK_MAP | _piu.TASK_WHOLE:
                tasks, values = _piu.Tasks(1), [None] * len(items)
                chunks = _piu.Chunks(1, 2, values)
                function = (b'', same) if kind & _piu.TASK_WHOLE else (SAME, None)
                tasks.submit_chunks(chunks, kind, function[0], items, function[1], 1)
                work(tasks, 0, -(-len(items) // 2))
                collected(tasks, 1, [chunks])
                self.assertEqual([repr(v) for v in values], [repr(v) for v in items])

    def test_numbers_of_a_chunk_that_nobody_awaits_are_an_entry(self):
        tasks = _piu.Tasks(1)
        tasks.submit(3, _piu.TASK_STARMAP, DOUBLE, ((1,), (2,)))
        work(tasks, 0, 1)
        self.assertEqual(collected(tasks, 1), [(3, _piu.DONE, 0, [2, 4])])

    def test_a_map_is_over_a_list_or_a_range(self):
        tasks = _piu.Tasks(1)
        for items, error in (((1, 2), TypeError), (range(1 << 64, (1 << 64) + 2), OverflowError)):
            with self.assertRaises(error):
                tasks.submit_chunks(_piu.Chunks(1, 1, [None] * 2), _piu.TASK_MAP, DOUBLE, items, None, 1)

    def test_a_chunk_that_cannot_be_sent_is_named_and_the_rest_goes_on(self):
        tasks, items = _piu.Tasks(1), [1, lambda: 1, 3]
        chunks = _piu.Chunks(1, 1, [None] * 3)
        i, error = tasks.submit_chunks(chunks, _piu.TASK_MAP, DOUBLE, items, None, 1)
        self.assertEqual((i, type(error)), (1, AttributeError))
        self.assertEqual(chunks.skip(1), 2)
        self.assertEqual(chunks.skip(1), 2)  # once
        self.assertIsNone(tasks.submit_chunks(chunks, _piu.TASK_MAP, DOUBLE, items, None, 1))
        work(tasks, 0, 2)
        self.assertEqual(len(collected(tasks, 1, [chunks])), 1)
        self.assertIsNone(chunks.find(1))
        self.assertRaises(IndexError, chunks.skip, 3)

    def test_what_a_task_raises_and_what_cannot_be_sent_are_results(self):
        tasks = _piu.Tasks(1)
        submit(tasks, 1, function=pickle.dumps(fail))
        tasks.submit(2, _piu.TASK_CALL | _piu.TASK_WHOLE, b'', (eval, ('lambda: 1',), {}))
        tasks.submit(3, _piu.TASK_STARMAP, pickle.dumps(pow), ((2, 3), (3, 2)))
        work(tasks, 0, 3)
        failed, unsendable, star = collected(tasks, 3)
        self.assertEqual((failed[1], type(failed[3])), (_piu.FAILED, KeyError))
        self.assertEqual((unsendable[1], type(unsendable[3])), (_piu.FAILED, TypeError))
        self.assertEqual(star[3], [8, 9])

    def test_objects_of_piu_travel(self):
        tasks, lock = _piu.Tasks(1), piu.Lock()
        submit(tasks, 1, lock, function=pickle.dumps(piu.synchronize.Lock.acquire))
        del lock
        work(tasks, 0, 1)
        self.assertEqual(collected(tasks, 1)[0][3], True)

    def test_a_result_that_is_read_twice_lands_its_handles_once(self):
        for size in 1, 5000:
            tasks, lock, inbox = _piu.Tasks(1), piu.Lock(), []
            submit(tasks, 1, lock, size, function=pickle.dumps(give_what_is_cut_off))
            work(tasks, 0, 1)
            Interrupting.left = 2
            for _ in range(2):
                self.assertRaises(KeyboardInterrupt, tasks.collect, [], inbox, False)
            self.assertEqual(tasks.collect([], inbox, False), 0)  # the kept one is not counted
            self.assertEqual(inbox.pop()[3][0], 'read')
            others = [piu.Lock() for _ in range(50)]
            self.assertTrue(lock.acquire(False))
            self.assertTrue(all(other.acquire(False) for other in others))

    def test_of_two_results_that_are_cut_off_one_in_the_other_both_are_kept(self):
        for size in 1, 5000:
            tasks, inbox = _piu.Tasks(1), []
            submit(tasks, 1, function=pickle.dumps(Collecting))
            submit(tasks, 2, None, size, function=pickle.dumps(give_what_is_cut_off))
            work(tasks, 0, 2)
            Collecting.collect = lambda: tasks.collect([], inbox, False)
            Interrupting.left = 1
            self.assertRaises(KeyboardInterrupt, tasks.collect, [], inbox, False)
            Collecting.collect = int
            tasks.collect([], inbox, False)
            self.assertEqual(sorted(entry[0] for entry in inbox), [1, 2])

    def test_a_number_has_moved_just_if_its_task_was_put(self):
        tasks, moved = _piu.Tasks(1), set()
        tasks.submit(9, _piu.TASK_CALL, DOUBLE, (1,), moved, 5)
        self.assertEqual(moved, {5})
        Interrupting.left = 1
        cut_off = InterruptingPickle()
        self.assertRaises(KeyboardInterrupt, tasks.submit, 10, _piu.TASK_CALL, DOUBLE, (cut_off,),
                          moved, 6)
        self.assertEqual((moved, tasks.qsize()), ({5}, 1))

    def test_sleep_ends_with_a_result_and_with_what_is_watched(self):
        tasks = _piu.Tasks(1)
        self.assertIs(tasks.sleep(0), False)
        self.assertIs(tasks.arm(), False)
        submit(tasks, 1, 1)
        work(tasks, 0, 1)
        self.assertTrue(select.select([tasks], [], [], 30)[0])
        self.assertIs(tasks.sleep(30), False)
        self.assertEqual(len(collected(tasks, 1)), 1)
        reader, writer = os.pipe()
        tasks.watch(reader)
        os.close(writer)
        self.assertIs(tasks.sleep(30), True)
        tasks.unwatch(reader)
        self.assertIs(tasks.sleep(0), False)
        os.close(reader)

    def test_no_slot_is_an_error(self):
        tasks = _piu.Tasks(2)
        for call in tasks.started, tasks.clear, tasks.finished:
            self.assertRaisesRegex(IndexError, 'no slot 2', call, 2)
        self.assertRaisesRegex(IndexError, 'no slot 2', work, tasks, 2)
        self.assertRaises(ValueError, _piu.Tasks, 0)

    def test_it_goes_to_children_alone(self):
        self.assertRaises(RuntimeError, pickle.dumps, _piu.Tasks(1))

    def test_after_shutdown_submit_says_so(self):
        tasks = _piu.Tasks(1)
        submit(tasks, 1, 1)
        tasks.shutdown()
        self.assertRaises(BrokenPipeError, submit, tasks, 2, 1)
        work(tasks, 0)
        self.assertEqual(collected(tasks, 1), [(1, _piu.DONE, 0, 2)])


if __name__ == '__main__':
    unittest.main()
