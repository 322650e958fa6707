"""What a Pool and its workers share: no task is run twice and none is forgotten."""

import pickle
import signal
import unittest

import children
import piu
from piu import _piu


def work(tasks, slot):
    """A worker: until there is no more."""
    while (task := tasks.take(slot)) is not None:
        number, body = task
        tasks.finish(slot, number, body * 2)


def take_and_die(tasks, slot):
    tasks.take(slot)
    children.die()


def finish_and_die(tasks, slot):
    number, body = tasks.take(slot)
    tasks.finish(slot, number, body)
    children.die()


def wait_for_task(tasks, slot, ready):
    ready.set()
    tasks.take(slot)


def collected(tasks, count):
    results = []
    while len(results) < count:
        tasks.collect(results)
    return results


class TasksTest(unittest.TestCase):

    def test_workers_of_all_methods_take_tasks_until_shutdown(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            tasks = _piu.Tasks(2)
            for number in range(1, 21):
                tasks.submit(number, b'%d' % number)
            tasks.submit(21, bytes(1 << 20))
            workers = [context.Process(target=work, args=(tasks, slot)) for slot in (0, 1)]
            for worker in workers:
                worker.start()
            results = collected(tasks, 21)
            tasks.shutdown()
            for worker in workers:
                worker.join()
                self.assertEqual(worker.exitcode, 0)
            self.assertEqual({result[0]: result[3] for result in results},
                             {**{n: b'%d' % n * 2 for n in range(1, 21)}, 21: bytes(2 << 20)})
            self.assertEqual({result[1] for result in results}, {_piu.TASK_DONE})
            self.assertEqual(tasks.qsize(), 0)

    def test_the_record_of_a_killed_worker_names_what_it_had_begun(self):
        for method in children.METHODS:
            tasks = _piu.Tasks(3)
            tasks.submit(7, b'a')
            tasks.submit(8, b'b')
            code = children.run(piu.get_context(method), take_and_die, tasks, 2)
            self.assertEqual(code, -signal.SIGKILL)
            self.assertEqual([tasks.started(slot) for slot in range(3)], [0, 0, 7])
            tasks.clear(2)
            self.assertEqual(tasks.started(2), 0)
            self.assertEqual(tasks.take(0), (8, b'b'))  # the other one has not suffered

    def test_killed_after_its_result_it_had_begun_nothing(self):
        tasks = _piu.Tasks(1)
        tasks.submit(7, b'a')
        children.run(piu.get_context('fork'), finish_and_die, tasks, 0)
        self.assertEqual(tasks.started(0), 0)
        self.assertEqual(collected(tasks, 1), [(7, _piu.TASK_DONE, 0, b'a')])

    def test_a_worker_killed_while_it_waits_takes_no_task_with_it(self):
        tasks, ready = _piu.Tasks(2), piu.Event()
        worker = piu.get_context('fork').Process(target=wait_for_task, args=(tasks, 0, ready))
        worker.start()
        ready.wait()
        worker.kill()
        worker.join()
        tasks.submit(1, b'')
        self.assertEqual(tasks.started(0), 0)
        self.assertEqual(tasks.take(1), (1, b''))

    def test_collect_out_of_time_is_false(self):
        tasks, results = _piu.Tasks(1), []
        self.assertIs(tasks.collect(results, 0), False)
        self.assertIs(tasks.collect(results, 0.01), False)
        self.assertEqual(results, [])

    def test_no_slot_is_an_error(self):
        tasks = _piu.Tasks(2)
        for call in tasks.started, tasks.clear, tasks.take:
            self.assertRaisesRegex(IndexError, 'no slot 2', call, 2)
        self.assertRaisesRegex(IndexError, 'no slot 2', tasks.finish, 2, 1, b'')
        self.assertRaises(ValueError, _piu.Tasks, 0)

    def test_it_goes_to_children_alone(self):
        self.assertRaises(RuntimeError, pickle.dumps, _piu.Tasks(1))

    def test_after_shutdown_submit_says_so(self):
        tasks = _piu.Tasks(1)
        tasks.submit(1, b'')
        tasks.shutdown()
        self.assertRaises(BrokenPipeError, tasks.submit, 2, b'')
        self.assertEqual(tasks.take(0), (1, b''))
        self.assertIsNone(tasks.take(0))


if __name__ == '__main__':
    unittest.main()
