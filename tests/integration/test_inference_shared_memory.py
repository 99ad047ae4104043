"""Tensors in system shared memory, and what is refused about it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import grpc
import numpy as np
import psutil
import pytest
import tensors
from loopback import Target, serve

from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub as Stub

ROOT = Path("/dev/shm")  # noqa: S108  (where Linux keeps POSIX shared memory)
NAMES = ("input_ids", "segment_ids", "position_ids")
IDS = np.array([[2, 5, 3], [2, 9, 3]], np.int64)
ARRAYS = dict(zip(NAMES, (IDS, np.ones_like(IDS), np.tile(np.arange(3), (2, 1))), strict=True))
INPUT_BYTES = IDS.nbytes
OUTPUT_AT = len(NAMES) * INPUT_BYTES
OUTPUT_BYTES = 2 * 8 * 4
SIZE = OUTPUT_AT + OUTPUT_BYTES

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no POSIX shared memory in /dev/shm")


@pytest.fixture(scope="module")
def shared(repository: Path) -> Iterator[Target]:
    with serve(repository, "--shared-memory") as running:
        yield running


@pytest.fixture
def stub(shared: Target) -> Iterator[Stub]:
    with shared.inference() as opened:
        yield opened
        opened.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())


@pytest.fixture
def memory() -> Iterator[Path]:
    """The three inputs one behind the other, and room for the output."""
    path = ROOT / f"heed-test-{uuid4().hex}"
    path.write_bytes(b"".join(ARRAYS[name].tobytes() for name in NAMES) + bytes(OUTPUT_BYTES))
    yield path
    path.unlink()


def register(stub: Stub, memory: Path, name: str = "r", offset: int = 0, size: int = SIZE) -> None:
    stub.SystemSharedMemoryRegister(
        pb.SystemSharedMemoryRegisterRequest(
            name=name, key=f"/{memory.name}", offset=offset, byte_size=size
        )
    )


def place(
    tensor: pb.ModelInferRequest.InferInputTensor | pb.ModelInferRequest.InferRequestedOutputTensor,
    offset: int,
    size: int,
    region: str = "r",
) -> None:
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = size
    tensor.parameters["shared_memory_offset"].int64_param = offset


def request(*, inputs: bool = True, output: bool = True) -> pb.ModelInferRequest:
    message = tensors.request("tiny", ARRAYS, ["sentence_embedding"])
    if inputs:
        del message.raw_input_contents[:]
        for index, tensor in enumerate(message.inputs):
            place(tensor, index * INPUT_BYTES, INPUT_BYTES)
    if output:
        place(message.outputs[0], OUTPUT_AT, OUTPUT_BYTES)
    return message


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert isinstance(caught.value, grpc.Call)
    return caught.value.code().name, str(caught.value.details())


def test_tensors_in_shared_memory_equal_those_in_messages(stub: Stub, memory: Path) -> None:
    sent = stub.ModelInfer(tensors.request("tiny", ARRAYS), timeout=30)
    register(stub, memory)

    answer = stub.ModelInfer(request(), timeout=30)

    assert list(answer.raw_output_contents) == [b""]
    (output,) = answer.outputs
    assert list(output.shape) == [2, 8]
    assert output.parameters["shared_memory_region"].string_param == "r"
    assert output.parameters["shared_memory_byte_size"].int64_param == OUTPUT_BYTES
    assert output.parameters["shared_memory_offset"].int64_param == OUTPUT_AT
    np.testing.assert_allclose(
        np.frombuffer(memory.read_bytes()[OUTPUT_AT:], np.float32),
        tensors.answer(sent)["sentence_embedding"].ravel(),
        rtol=1e-5,
    )


def test_some_inputs_may_be_sent(stub: Stub, memory: Path) -> None:
    register(stub, memory)
    message = request(output=False)
    message.inputs[1].parameters.clear()
    message.raw_input_contents.append(ARRAYS["segment_ids"].tobytes())

    assert list(stub.ModelInfer(message, timeout=30).outputs[0].shape) == [2, 8]


def test_status_lists_what_is_registered(stub: Stub, memory: Path) -> None:
    register(stub, memory, "first", 0, 16)
    register(stub, memory, "second", 16, 8)

    regions = stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest()).regions
    (one,) = stub.SystemSharedMemoryStatus(
        pb.SystemSharedMemoryStatusRequest(name="second")
    ).regions.values()

    assert set(regions) == {"first", "second"}
    assert (one.name, one.key) == ("second", f"/{memory.name}")
    assert (one.offset, one.byte_size) == (16, 8)


def test_region_can_be_removed_and_used_no_more(stub: Stub, memory: Path) -> None:
    register(stub, memory)
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(name="r"))
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(name="r"))

    assert refusal(lambda: stub.ModelInfer(request(), timeout=30))[0] == "NOT_FOUND"
    status = pb.SystemSharedMemoryStatusRequest(name="r")
    assert refusal(lambda: stub.SystemSharedMemoryStatus(status))[0] == "NOT_FOUND"


def test_registering_twice_is_refused(stub: Stub, memory: Path) -> None:
    register(stub, memory)

    assert refusal(lambda: register(stub, memory))[0] == "ALREADY_EXISTS"


def test_missing_object_is_internal(stub: Stub) -> None:
    assert refusal(lambda: register(stub, ROOT / "heed-nobody"))[0] == "INTERNAL"


def test_region_beyond_its_object_is_refused(stub: Stub, memory: Path) -> None:
    assert refusal(lambda: register(stub, memory, size=SIZE + 1))[0] == "INVALID_ARGUMENT"


def test_place_beyond_its_region_is_refused(stub: Stub, memory: Path) -> None:
    register(stub, memory, size=INPUT_BYTES)

    code, details = refusal(lambda: stub.ModelInfer(request(output=False), timeout=30))

    assert code == "INVALID_ARGUMENT"
    assert "beyond region 'r'" in details


def test_place_that_does_not_fit_the_shape_is_refused(stub: Stub, memory: Path) -> None:
    register(stub, memory)
    message = request(output=False)
    place(message.inputs[0], 0, 8)

    code, details = refusal(lambda: stub.ModelInfer(message, timeout=30))

    assert code == "INVALID_ARGUMENT"
    assert f"{INPUT_BYTES} bytes, got 8" in details


def test_output_larger_than_its_place_is_internal(stub: Stub, memory: Path) -> None:
    register(stub, memory)
    message = request()
    place(message.outputs[0], OUTPUT_AT, OUTPUT_BYTES - 1)

    code, details = refusal(lambda: stub.ModelInfer(message, timeout=30))

    assert code == "INTERNAL"
    assert f"has {OUTPUT_BYTES} bytes" in details


def test_object_that_became_shorter_harms_only_its_own_request(stub: Stub, memory: Path) -> None:
    register(stub, memory)
    with memory.open("r+b") as file:
        file.truncate(4)

    assert refusal(lambda: stub.ModelInfer(request(), timeout=30))[0] == "INTERNAL"
    assert stub.ModelInfer(request(inputs=False, output=False), timeout=30).outputs


def test_output_that_the_system_does_not_take_is_named(
    shared: Target, stub: Stub, memory: Path
) -> None:
    register(stub, memory)
    server = psutil.Process(shared.process.pid)
    before = server.rlimit(psutil.RLIMIT_FSIZE)
    # As with a memory that is full: the object is long enough, and writing to it fails.
    server.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))
    try:
        code, message = refusal(lambda: stub.ModelInfer(request(), timeout=30))
    finally:
        server.rlimit(psutil.RLIMIT_FSIZE, before)

    assert code == "INTERNAL"
    assert "region 'r' cannot hold output 'sentence_embedding'" in message
    stub.ModelInfer(request(), timeout=30)


def test_extension_is_advertised(stub: Stub) -> None:
    extensions = stub.ServerMetadata(pb.ServerMetadataRequest()).extensions

    assert "system_shared_memory" in extensions
    assert "cuda_shared_memory" not in extensions


def test_without_the_option_nothing_is_mapped(target: Target, memory: Path) -> None:
    with target.inference() as stub:
        stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
        for call in (
            lambda: register(stub, memory),
            lambda: stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest()),
            lambda: stub.ModelInfer(request(), timeout=30),
        ):
            code, details = refusal(call)
            assert code == "UNIMPLEMENTED"
            assert "--shared-memory" in details


def test_device_memory_is_never_mapped(target: Target) -> None:
    with target.inference() as stub:
        stub.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest())
        status = stub.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest())
        asked = pb.CudaSharedMemoryRegisterRequest(name="r", raw_handle=b"0", byte_size=8)

        assert not status.regions
        assert refusal(lambda: stub.CudaSharedMemoryRegister(asked))[0] == "UNIMPLEMENTED"
