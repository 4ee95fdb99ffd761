"""Processes are forked from a template, and are as if they had been started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.stack.waiting import until
from tippers_dagster.platform.forking import forking
from tippers_dagster.platform.forking.forking import LOST, Forked, Template, channels, fork

CHILD = """
    import json, os, sys, tempfile

    def main(answers, arguments):
        with os.fdopen(answers, "w") as out:
            for line in sys.stdin:
                if line == "facts\\n":
                    links = [os.path.realpath(f"/proc/self/fd/{n}") for n in range(3, 40)]
                    facts = {
                        "pid": os.getpid(), "parent": os.getppid(), "folder": os.getcwd(),
                        "environment": dict(os.environ), "temporary": tempfile.gettempdir(),
                        "pipes": sum("pipe:" in link or "socket:" in link for link in links),
                        "imported": "wave" in sys.modules,
                    }
                    print(json.dumps(facts), file=out, flush=True)
                elif line == "fail\\n":
                    raise ValueError("so be it")
                else:
                    print(line, end="")
                    sys.exit(int(line))
"""


@dataclass
class Started:
    """A process of the child above."""

    process: Forked
    answers: Iterator[str]

    def send(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def facts(self) -> dict[str, object]:
        self.send("facts")
        return json.loads(next(self.answers))


@pytest.fixture
def child(tmp_path: Path) -> Path:
    path = tmp_path / "child.py"
    path.write_text(textwrap.dedent(CHILD))
    return path


def start(child: Path, output: int | None = None, **environment: str) -> Started:
    answers, told = os.pipe()
    process = fork(
        Template(child, ("wave",)), child.parent, environment, given=[told], output=output
    )
    os.close(told)
    return Started(process, iter(os.fdopen(answers)))


def test_each_has_its_own_environment_and_nothing_of_the_others(child: Path) -> None:
    one = start(child, NAME="one", TMPDIR=str(child.parent))
    first = one.facts()
    two = start(child, NAME="two")
    second = two.facts()
    assert first["parent"] == second["parent"] != os.getpid()
    assert (first["environment"], second["environment"]) == (
        {"NAME": "one", "TMPDIR": str(child.parent)},
        {"NAME": "two"},
    )
    assert first["folder"] == first["temporary"] == str(child.parent)
    assert first["imported"]
    for started, facts in ((one, first), (two, second)):
        assert facts["pid"] == started.process.pid
        assert facts["pipes"] == 1, "only the answers"
        started.process.stdin.close()
        assert started.process.wait(10) == 0


def test_output_and_exit_codes(child: Path, tmp_path: Path) -> None:
    one = start(child)
    one.send("3")
    assert one.process.wait(10) == 3
    assert one.process.stdout is not None
    assert one.process.stdout.read() == "3\n"

    with (tmp_path / "output").open("wb") as output:
        two = start(child, output.fileno())
    assert two.process.stdout is None
    two.send("fail")
    assert two.process.wait(10) == 1
    assert "ValueError: so be it" in (tmp_path / "output").read_text()

    three = start(child)
    with pytest.raises(subprocess.TimeoutExpired):
        three.process.wait(0.01)
    three.process.kill()
    assert three.process.wait(10) == -signal.SIGKILL
    three.process.kill()  # once more does nothing


def test_a_template_that_has_ended_is_replaced(child: Path) -> None:
    one = start(child)
    template = psutil.Process(int(one.facts()["parent"]))
    template.kill()
    assert one.process.wait(10) == LOST
    one.process.stdin.close()

    two = start(child)
    assert two.facts()["parent"] != template.pid
    two.process.stdin.close()
    assert two.process.wait(10) == 0


def test_an_idle_template_forgets_what_it_has_imported(child: Path, tmp_path: Path) -> None:
    imports = tmp_path / "imports"
    child.write_text(f"open({str(imports)!r}, 'a').write('x')\n" + child.read_text())
    impatient = tmp_path / "template.py"
    text = Path(forking.__file__).with_name("template.py").read_text()
    impatient.write_text(text.replace("IDLE_SECONDS = 300", "IDLE_SECONDS = 0.2"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forking, "_PROGRAM", impatient)
        one = start(child)
        template = one.facts()["parent"]
        time.sleep(0.5)
        two = start(child)
        assert two.facts()["parent"] == template
        assert imports.read_text() == "x", "it waits for its processes"
        for started in (one, two):
            started.process.kill()
            started.process.wait(10)
        time.sleep(0.5)
        three = start(child)
        assert three.facts()["parent"] == template
        assert imports.read_text() == "xx"
        three.process.kill()


def test_a_template_is_handed_on_before_and_after_it_imports(child: Path) -> None:
    template = Template(child, ("wave",))
    forking.start_templates([template])
    code = f"""
        import json, os
        from tippers_dagster.platform.forking.forking import Template, fork, use_channels
        template = Template(Path({str(child)!r}), ("wave",))
        use_channels({{template: {channels()[template]}}})
        answers, told = os.pipe()
        process = fork(template, template.child.parent, {{}}, given=[told])
        print("facts", file=process.stdin, flush=True)
        print(json.loads(os.fdopen(answers).readline())["parent"])
        process.kill()
    """
    parents = [
        subprocess.run(
            [sys.executable, "-c", "from pathlib import Path\n" + textwrap.dedent(code)],
            pass_fds=[channels()[template]],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    own = start(child)
    assert {int(parent) for parent in parents} == {own.facts()["parent"]}
    own.process.kill()


def test_a_template_that_cannot_import_starts_nothing(child: Path) -> None:
    child.write_text("import no_such_module")
    answers, told = os.pipe()
    process = fork(Template(child), child.parent, {}, given=[told])
    os.close(told)
    os.close(answers)
    assert process.wait(20) == LOST
    with pytest.raises(ProcessLookupError):
        _ = process.pid
    process.kill()


def test_an_idle_template_ends_with_its_process(child: Path) -> None:
    code = f"""
        import os
        from pathlib import Path
        from tippers_dagster.platform.forking.forking import Template, fork
        answers, told = os.pipe()
        template = Template(Path({str(child)!r}))
        process = fork(template, template.child.parent, {{}}, given=[told])
        process.stdin.close()
        process.wait(20)
        print(psutil.Process().children()[0].pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run(
        [sys.executable, "-c", "import psutil\n" + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    template = int(done.stdout)
    until(lambda: not psutil.pid_exists(template), 10)


def test_templates_are_kept_for_their_modules(child: Path) -> None:
    one, two = start(child), start(child)
    assert len([template for template in channels() if template.child == child]) == 1
    for started in (one, two):
        started.process.kill()
