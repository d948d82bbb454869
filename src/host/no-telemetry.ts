/**
 * ONNX Runtime's library tells its maker of each session (1.30, seen on Linux): it writes a device
 * id and a database into the user's cache (without a home, a file `:memory:.ses` where the program
 * runs) and holds an address to send them to. Nothing here calls home. It asks the environment when
 * it is loaded, and a worker thread's is a copy that it does not see: so this is imported before
 * it, and before a thread begins.
 */
process.env.ORT_DISABLE_TELEMETRY ??= "1"
