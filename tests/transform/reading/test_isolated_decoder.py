"""Decoding in a process of its own: what kills the decoder makes one slice unusable, no more."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000Lossless

from transform.reading import isolated_decoder
from transform.reading.isolated_decoder import DecoderPool, UndecodableError

PROCESS = Path(isolated_decoder.__file__).with_name("isolated_decoder_process.py")
# The real process, whose decoder does what damaged codestreams make native ones do.
HARMED = f"""
import importlib.util, os, signal, time
spec = importlib.util.spec_from_file_location("process", {str(PROCESS)!r})
process = importlib.util.module_from_spec(spec)
spec.loader.exec_module(process)
def decode(request, codestream):
    if codestream == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if codestream == b"spin":
        while True:
            pass
    if codestream == b"eat":
        bytearray(1 << 40)
    if codestream == b"talk":
        os.write(1, b"on standard output\\n")
    if codestream == b"pid":
        return "<i8", os.getpid().to_bytes(8, "little")
    if codestream == b"modules":
        import sys
        return "|u1", bytes([any(name in sys.modules for name in ("tensorflow", "tfx"))])
    return "|u1", codestream
process._decode = decode
process.CPU_SECONDS = 0.3
process.main()
"""


@pytest.fixture
def pool(tmp_path):
    script = tmp_path / "harmed.py"
    script.write_text(HARMED)
    pool = DecoderPool(script)
    yield pool
    pool.close()


def is_running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    # It may also go between the opening of the file and the reading of it.
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone_soon(pid):
    for _ in range(100):
        if not is_running(pid):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("harm", "killed"), [(b"crash", True), (b"spin", True), (b"eat", False)])
def test_after_a_crash_a_hang_or_too_much_memory_the_next_slice_is_decoded(pool, harm, killed):
    for _ in range(3):
        with pytest.raises(UndecodableError) as caught:
            pool.decode({}, harm)
        assert caught.value.killed is killed
        assert pool.decode({}, b"sound").tobytes() == b"sound"


def test_what_a_decoder_prints_is_not_taken_for_pixels(pool):
    assert pool.decode({}, b"talk").tobytes() == b"talk"


def test_one_process_serves_slice_after_slice(pool):
    assert int(pool.decode({}, b"pid")[0]) == int(pool.decode({}, b"pid")[0]) != os.getpid()


def test_a_process_that_somebody_ended_is_replaced(pool):
    decoder = int(pool.decode({}, b"pid")[0])
    parent = int(Path(f"/proc/{decoder}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(parent, signal.SIGKILL)
    assert gone_soon(decoder)
    assert pool.decode({}, b"sound").tobytes() == b"sound"


def test_a_process_that_never_runs_is_an_error_of_the_machine_not_of_the_slice(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit(1)")
    with pytest.raises(RuntimeError, match="does not run"):
        DecoderPool(script).decode({}, b"sound")


def test_threads_do_not_get_each_others_pixels(pool):
    wrong = []

    def work(number):
        for turn in range(30):
            sent = f"{number} {turn}".encode() * 2000
            if turn % 10 == 5:
                with pytest.raises(UndecodableError):
                    pool.decode({}, b"crash")
            if pool.decode({}, sent).tobytes() != sent:
                wrong.append(sent)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_process_uses_a_decoder_of_its_own():
    codestream, request = real_request()
    expected = isolated_decoder.decode_isolated(request, codestream)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        same = np.array_equal(isolated_decoder.decode_isolated(request, codestream), expected)
        os.write(writing, b"same" if same else b"other")
        isolated_decoder._pool.close()
        os._exit(0)
    np.testing.assert_array_equal(isolated_decoder.decode_isolated(request, codestream), expected)
    os.close(writing)
    assert os.read(reading, 10) == b"same"
    os.close(reading)
    os.waitpid(child, 0)
    np.testing.assert_array_equal(isolated_decoder.decode_isolated(request, codestream), expected)


def real_request():
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    dataset.compress(JPEG2000Lossless)
    options = {
        "rows": 128,
        "columns": 128,
        "bits_allocated": 16,
        "bits_stored": 16,
        "pixel_representation": 1,
        "photometric_interpretation": "MONOCHROME2",
    }
    request = {"syntax": str(JPEG2000Lossless), "plugin": "pylibjpeg", "options": options}
    return get_frame(dataset.PixelData, 0, number_of_frames=1), request


def test_the_decoding_process_loads_no_tensorflow(pool):
    assert pool.decode({}, b"modules").tolist() == [0]


@pytest.mark.slow
def test_the_decoding_process_ends_with_the_one_that_started_it(tmp_path):
    script = tmp_path / "harmed.py"
    script.write_text(HARMED)
    # Without the package, whose import takes seconds.
    starter = textwrap.dedent(f"""
        import importlib.util, sys, time
        spec = importlib.util.spec_from_file_location("decoder", {isolated_decoder.__file__!r})
        decoder = importlib.util.module_from_spec(spec)
        sys.modules["decoder"] = decoder
        spec.loader.exec_module(decoder)
        from pathlib import Path
        pool = decoder.DecoderPool(Path({str(script)!r}))
        print(int(pool.decode({{}}, b"pid")[0]), flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as started:
        decoder = int(started.stdout.readline())
        assert is_running(decoder)
        started.send_signal(signal.SIGKILL)
    assert gone_soon(decoder)
