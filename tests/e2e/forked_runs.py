"""The command line, again and again, each time forked off one process that has imported it all.

Importing takes ten seconds and more, a run whose steps come from the cache two. A request is a line
of JSON on standard input: the `arguments`, `out`, the file that gets what the command prints, and
`die`, how it is to be killed, or null. The answer is a line: the process id, and the exit code or
minus the signal.

A command that is to die kills its process group, which is its own, as kill -9 would:

    {"in": STEP, "after": SECONDS}  so long after the step's work has begun, or, where the step is
                                    faster, when its work is done and is not published yet
    {"behind": STEP}                when the step has ended, and no other has begun
    {"in_epoch": NUMBER}            when that epoch has been trained, and is not saved yet
    {"at_the_end": true}            before the summary is written

With `"alone": true` it kills nothing but itself.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import threading

# What a run imports, in the order that TFX needs.
MODULES = (
    "tfx.v1",
    "pipeline.cli",
    "pipeline.dag",
    "pipeline.ingest_settings",
    "pipeline.runners.local_runner",
    "pipeline.rebuild_report",
    "trainer.run",
)


def die_as_told(die):
    """Have this process be killed at a place of its run."""
    from tfx.orchestration.portable.launcher import Launcher

    from pipeline.summary import Summary
    from trainer.training_checkpoint import TrainingCheckpoints

    def kill(*_):
        if die.get("alone"):
            os.kill(os.getpid(), signal.SIGKILL)
        os.killpg(0, signal.SIGKILL)

    work, publish, launch = (
        Launcher._run_executor,
        Launcher._publish_successful_execution,
        Launcher.launch,
    )
    save = TrainingCheckpoints.save

    def step_of(launcher):
        return launcher._pipeline_node.node_info.id

    def work_until_killed(self, *arguments):
        if step_of(self) == die.get("in"):
            threading.Timer(die["after"], kill).start()
        return work(self, *arguments)

    def publish_unless_killed(self, *arguments):
        if step_of(self) == die.get("in"):
            kill()
        return publish(self, *arguments)

    def launch_and_be_killed(self):
        info = launch(self)
        if step_of(self) == die.get("behind"):
            kill()
        return info

    def save_unless_killed(self, state, *arguments):
        if len(state.records) == die.get("in_epoch"):
            kill()
        save(self, state, *arguments)

    Launcher._run_executor = work_until_killed
    Launcher._publish_successful_execution = publish_unless_killed
    Launcher.launch = launch_and_be_killed
    TrainingCheckpoints.save = save_unless_killed
    if die.get("at_the_end"):
        Summary.write = kill


def run_forked(request):
    """Run the command line in a process of its own; gives its id, and how it ended."""
    pid = os.fork()
    if pid:
        return pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.setsid()
    with open(request["out"], "w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    code = 1
    try:
        if request["die"]:
            die_as_told(request["die"])
        sys.argv = ["ctnet", *request["arguments"]]
        from pipeline.cli import main

        with contextlib.suppress(BrokenPipeError):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in MODULES:
        importlib.import_module(name)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(*run_forked(json.loads(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
