#!/usr/bin/env python3
"""A worker and client written from PROTOCOL.md alone, with nothing of ours: pyzmq and msgpack.

    raw_worker.py ENDPOINT [TEMPLATE.yaml]

Registers for linear_workflow/mathematical_sequence@1.0.0 (with the template, when its file is given), submits tasks,
runs their steps, and compares what the broker then says with what Python computed. Prints the results as JSON; ends
with 0 when they are exact. One thread, one DEALER for both roles.
"""

import json
import os
import socket
import sys
import time
import uuid

import msgpack
import zmq

MAGIC, VERSION = 0x54, 1
REGISTER_WORKER, HEARTBEAT, PARTIAL_RESULT, BATCH_COMPLETION, UNREGISTER = 0x0101, 0x0102, 0x0103, 0x0104, 0x0106
WORKER_REGISTERED, HEARTBEAT_ACKNOWLEDGED, EXECUTE_BATCH, RESULTS_ACCEPTED = 0x0201, 0x0202, 0x0203, 0x0204
WORKER_UNREGISTERED = 0x0209
INITIALIZE_TASK, TASK_STATUS, WAIT_FOR_TASK = 0x0302, 0x0304, 0x0305
TASKS_INITIALIZED, TASK_STATUS_REPORT, TASK_WAITED = 0x0402, 0x0404, 0x0405

NAMESPACE, NAME = "linear_workflow", "mathematical_sequence"
# even_number -> state of the task, results of its steps. The last is beyond 64 bits, and beyond any double.
EXPECTED = {
    6: ("complete", [36, 1296, 1679616, 2821109907456]),
    8: ("complete", [64, 4096, 16777216, 281474976710656]),
    2**16: ("complete", [2**32, 2**64, 2**128, 2**256]),
    7: ("error", []),
}
PATIENCE_S = 30


class PermanentError(Exception):
    pass


def handle(step, context, results):
    """The handlers of the workflow: each squares its input."""
    if step["name"] == "linear_step_1":
        number = context["even_number"]
        if number % 2:
            raise PermanentError(f"{number} is not even")
        return number * number
    (parent,) = step["parents"]
    return results[parent] ** 2


class Peer:
    def __init__(self, endpoint):
        self.incarnation = str(uuid.uuid4())
        self.registration_id = None
        self.heartbeat_s, self.next_beat = None, None
        self.replies = {}
        self.unacknowledged = 0
        self.batches_open = set()
        self.deadline = time.monotonic() + PATIENCE_S
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 1000
        self.socket.connect(endpoint)

    def send(self, message_type, **body):
        header = bytes([MAGIC, VERSION]) + message_type.to_bytes(2, "big")
        self.socket.send_multipart([header, msgpack.packb(body)])

    def command(self, message_type, **body):
        correlation_id = str(uuid.uuid4())
        self.send(message_type, correlation_id=correlation_id, **body)
        return correlation_id

    def request(self, message_type, reply_type, **body):
        """Sends a command and does whatever else there is to do until its reply is there."""
        correlation_id = self.command(message_type, **body)
        while correlation_id not in self.replies:
            self.turn()
        received, reply = self.replies.pop(correlation_id)
        assert received == reply_type, f"expected 0x{reply_type:04x}, received 0x{received:04x}: {reply}"
        return reply

    def turn(self):
        """One message, or a heartbeat when it is time for one."""
        now = time.monotonic()
        if now > self.deadline:
            raise TimeoutError(f"not done after {PATIENCE_S} s")
        wait_s = self.deadline - now
        if self.next_beat is not None:
            if now >= self.next_beat:
                self.command(HEARTBEAT, registration_id=self.registration_id, free_slots=4, in_flight=0)
                self.next_beat = now + self.heartbeat_s
            wait_s = min(wait_s, self.next_beat - now)
        if self.socket.poll(max(0, wait_s) * 1000):
            header, body = self.socket.recv_multipart()
            assert header[0] == MAGIC and header[1] == VERSION, header.hex()
            self.receive(int.from_bytes(header[2:], "big"), msgpack.unpackb(body))

    def receive(self, message_type, body):
        if message_type == EXECUTE_BATCH:
            # Without a registration, or for another one, a batch does not count.
            if self.registration_id and body["registration_id"] == self.registration_id:
                self.run(body)
        elif message_type == RESULTS_ACCEPTED:
            for result in body["results"]:
                assert result["disposition"] == "accepted", result
            self.unacknowledged -= len(body["results"])
            self.batches_open -= set(body["closed_batches"])
        elif message_type != HEARTBEAT_ACKNOWLEDGED:
            self.replies[body["correlation_id"]] = (message_type, body)

    def run(self, batch):
        self.batches_open.add(batch["batch_id"])
        lines = []
        for step in batch["steps"]:
            task = batch["tasks"][step["task"]]
            at = {"task_id": task["task_id"], "step": step["name"], "attempt": step["attempt"]}
            results = {parent["step"]: json.loads(parent["result"]) for parent in task["results"]}
            outcome = {"batch_id": batch["batch_id"], **at}
            started = time.time()
            try:
                result = handle(step, json.loads(task["context"]), results)
                outcome |= {"status": "complete", "result": json.dumps(result)}
            except PermanentError as error:
                failure = {"class": "PermanentError", "message": str(error), "retryable": False}
                outcome |= {"status": "error", "error": failure}
            outcome["started_at_us"] = int(started * 1e6)
            outcome["duration_us"] = int((time.time() - started) * 1e6)
            self.unacknowledged += 1
            self.command(PARTIAL_RESULT, results=[outcome])
            lines.append({**at, "status": outcome["status"]})
        self.command(BATCH_COMPLETION, batch_id=batch["batch_id"], steps=lines)

    def register(self, template_path):
        capability = {"template": f"{NAMESPACE}/{NAME}@1.0.0"}
        if template_path:
            with open(template_path, encoding="utf-8") as file:
                capability |= {"yaml": file.read(), "source": template_path}
        registered = self.request(
            REGISTER_WORKER,
            WORKER_REGISTERED,
            name=f"raw-{socket.gethostname()}-{os.getpid()}",
            incarnation=self.incarnation,
            templates=[capability],
            concurrency=4,
            host=socket.gethostname(),
            pid=os.getpid(),
            language=f"python {sys.version.split()[0]}",
            library=f"pyzmq {zmq.__version__}",
        )
        self.registration_id = registered["registration_id"]
        self.heartbeat_s = registered["heartbeat_ms"] / 1000
        self.next_beat = time.monotonic() + self.heartbeat_s

    def submit(self, numbers):
        request = lambda number: {
            "namespace": NAMESPACE,
            "name": NAME,
            "version": "1.0.0",
            "context": json.dumps({"even_number": number}),
            "idempotency_key": f"raw-{self.incarnation}-{number}",
            "initiator": "raw_worker.py",
        }
        tasks = [request(number) for number in numbers]
        first = self.request(INITIALIZE_TASK, TASKS_INITIALIZED, tasks=tasks)["tasks"]
        again = self.request(INITIALIZE_TASK, TASKS_INITIALIZED, tasks=tasks)["tasks"]
        for row, repeated in zip(first, again):
            assert row.get("error") is None, row
            assert (repeated["task_id"], repeated["duplicate"]) == (row["task_id"], True), repeated
        return [row["task_id"] for row in first]

    def outcome(self, task_id):
        waited = self.request(WAIT_FOR_TASK, TASK_WAITED, task_id=task_id, timeout_ms=PATIENCE_S * 1000)
        assert waited["finished"], waited
        report = self.request(TASK_STATUS, TASK_STATUS_REPORT, task_id=task_id, include_steps=True, include_results=["*"])
        results = [json.loads(step["result"]) for step in report["steps"] if step.get("result") is not None]
        return report["task"]["state"], results

    def leave(self):
        while self.batches_open or self.unacknowledged:
            self.turn()
        self.request(
            UNREGISTER, WORKER_UNREGISTERED, registration_id=self.registration_id, drain=True, reason="done"
        )


def main():
    endpoint, template_path = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    peer = Peer(endpoint)
    peer.register(template_path)
    task_ids = peer.submit(EXPECTED)
    found = {number: peer.outcome(task_id) for number, task_id in zip(EXPECTED, task_ids)}
    peer.leave()
    print(json.dumps({str(number): {"state": state, "results": results} for number, (state, results) in found.items()}))
    return 0 if found == EXPECTED else 1


if __name__ == "__main__":
    sys.exit(main())
