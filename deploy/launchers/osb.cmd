@echo off
rem Starts osb.mjs, which lies beside this file, with the Node.js that is installed.
setlocal
if not defined NODE_COMPILE_CACHE set "NODE_COMPILE_CACHE=%LOCALAPPDATA%\osb\cache"
node "%~dp0osb.mjs" %*
