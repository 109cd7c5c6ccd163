"""Functions that no model file should reach: module and name, as a pickle names them."""

PAYLOADS = """
os system; posix system; nt system; os popen; os execvp; os spawnl; os remove; os putenv
subprocess Popen; subprocess run; subprocess getoutput; subprocess check_output; builtins eval
builtins exec; builtins compile; builtins __import__; builtins getattr; builtins open
builtins setattr; builtins globals; builtins breakpoint; builtins input; __builtin__ eval
__builtin__ apply; builtins map; builtins filter; importlib import_module; importlib __import__
imp load_source; runpy run_path; runpy run_module; pkgutil resolve_name; _operator methodcaller
operator attrgetter; _operator itemgetter; operator call; functools partial; functools reduce
_functools partial; itertools starmap; numpy.f2py.crackfortran myeval
numpy.f2py.crackfortran _eval_length; numpy.f2py.capi_maps getinit
numpy.testing._private.utils runstring; numpy.distutils.exec_command exec_command; numpy load
numpy.lib._npyio_impl NpzFile; numpy.ctypeslib load_library; numpy memmap; numpy fromfile
torch.hub load; torch load; torch.jit.unsupported_tensor_ops execWrapper
torch.serialization load; torch.utils.collect_env run; torch.utils.cpp_extension load_inline
torch.package PackageImporter; torch.utils.data.datapipes.utils.decoder basichandlers
torch._inductor.codecache compile_file
torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression
torch.utils.bottleneck.__main__ run_cprofile; torch.distributed.rpc rpc_sync
uuid _get_command_stdout; _uuid generate_time; pip main; pip._internal main
asyncio.unix_events _UnixSubprocessTransport._start; asyncio run; asyncio.subprocess Process
idlelib.pyshell ModifiedInterpreter.runcode; idlelib.debugobj ObjectTreeItem.SetText
idlelib.autocomplete AutoComplete.get_entity; idlelib.run Executive.runcode
idlelib.calltip Calltip; lib2to3.pgen2.pgen ParserGenerator.make_label
lib2to3.pgen2.grammar Grammar.loads; profile run; profile Profile.runctx; cProfile runctx
trace Trace.runctx; timeit timeit; code InteractiveInterpreter.runcode; codeop compile_command
pdb run; pty spawn; bdb Bdb.run; doctest debug_script; webbrowser open; antigravity geohash
this s; cgitb lookup; socket create_connection; socket socket; ssl get_server_certificate
smtplib SMTP; ftplib FTP; urllib.request urlopen; urllib.request urlretrieve
http.client HTTPSConnection; requests get; xmlrpc.client ServerProxy; telnetlib Telnet
imaplib IMAP4_stream; shutil rmtree; shutil move; pathlib Path.write_text; pathlib Path.unlink
tempfile mkstemp; ctypes CDLL; ctypes.util _findLib_gcc; _ctypes dlopen; cffi FFI
multiprocessing.util spawnv_passfds; multiprocessing Process; pickle loads; _pickle loads
pickle load; marshal loads; shelve open; dill loads; cloudpickle loads
cloudpickle.cloudpickle _make_function; joblib load; pandas read_pickle; pandas eval
pandas.io.pickle read_pickle; types CodeType; types FunctionType; types ModuleType
copyreg _reconstructor; copyreg add_extension; gc get_objects; sys settrace; sys modules
inspect getattr_static; signal signal; atexit register; threading Thread
_thread start_new_thread; concurrent.futures ThreadPoolExecutor; pydoc pipepager; pydoc locate
ensurepip _run_pip; venv main; zipimport zipimporter; site execsitecustomize
zipapp create_archive; compileall compile_dir; py_compile compile; ast literal_eval; dis dis
tokenize open; distutils.spawn spawn; distutils.file_util write_file; setuptools setup
pkg_resources load_entry_point; logging.config dictConfig; logging FileHandler
configparser ConfigParser; sqlite3 connect; dbm open; linecache updatecache; fileinput input
mmap mmap; fcntl ioctl; resource setrlimit; readline read_init_file
test.support.script_helper assert_python_ok; unittest.mock _importer; string Formatter.format
jinja2 Template; jinja2.sandbox SandboxedEnvironment; mako.template Template; yaml unsafe_load
sympy sympify; scipy.io loadmat; sklearn.utils._testing assert_run_python_script
sklearn.datasets load_svmlight_file; tensorflow py_function; tensorflow.keras.models load_model
keras.models load_model; keras.utils get_file; transformers AutoModel.from_pretrained
transformers.utils.hub cached_file; huggingface_hub hf_hub_download; lightgbm Booster
xgboost Booster.load_model; catboost CatBoost.load_model; onnxruntime InferenceSession
IPython.utils.process system; IPython get_ipython; notebook.auth passwd; click.termui launch
fabric Connection; paramiko SSHClient; docker from_env; kubernetes.config load_kube_config
boto3 client; ray init; __main__ system; my_module anything; evil Model
"""
