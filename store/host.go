package store

/*
#include <stdlib.h>

void pintail_host_call(void *info, void *chunk, void *out);
typedef void (*pintail_callback_1)(void *);
typedef void (*pintail_host_function)(void *, void *, void *);
*/
import "C"

import (
	"errors"
	"sync"
	"unsafe"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/internal/fault"
)

// hostFunction is the scalar function by which Pintail's own views and macros ask the process that has the file: of a question, who asks
// and what about, all texts, it gives a text. The statement gate lets no reader call it.
const hostFunction = "_pintail_host"

// Host answers what hostFunction asks; an error is the statement's. It is called by DuckDB's threads, and must not use the store.
type Host func(question, asker, about string) (string, error)

// SetHost says who answers. Before it there is no answer but NULL.
func (s *Store) SetHost(h Host) { s.host.Store(&h) }

// hosts are the open stores by the number that their function knows.
var hosts sync.Map // int64 → *Store

const hostParams = 3

func (s *Store) registerHost(conn duck.Connection) error {
	s.hostID = lastID.Add(1)
	hosts.Store(s.hostID, s)
	f := duck.CreateScalarFunction()
	defer duck.DestroyScalarFunction(&f)
	duck.ScalarFunctionSetName(f, hostFunction)
	t := duck.CreateLogicalType(duck.TypeVarchar)
	defer duck.DestroyLogicalType(&t)
	for range hostParams {
		duck.ScalarFunctionAddParameter(f, t)
	}
	duck.ScalarFunctionSetReturnType(f, t)
	duck.ScalarFunctionSetVolatile(f) // a plan must not ask, and each run must
	duck.ScalarFunctionSetExtraInfo(f, number(s.hostID), unsafe.Pointer(C.pintail_callback_1(C.free)))
	duck.ScalarFunctionSetFunction(f, unsafe.Pointer(C.pintail_host_function(C.pintail_host_call)))
	if duck.RegisterScalarFunction(conn, f) == duck.StateError {
		return errors.New("DuckDB refused the function " + hostFunction)
	}
	return nil
}

//export pintail_host_call
func pintail_host_call(p, chunk, out unsafe.Pointer) {
	info := duck.FunctionInfo{Ptr: p}
	defer rescue(func(err error) { duck.ScalarFunctionSetError(info, err.Error()) })
	v, ok := hosts.Load(*(*int64)(duck.ScalarFunctionGetExtraInfo(info)))
	if !ok {
		duck.ScalarFunctionSetError(info, hostFunction+": the store is closed")
		return
	}
	host := v.(*Store).host.Load()
	in, result := duck.DataChunk{Ptr: chunk}, duck.Vector{Ptr: out}
	var columns [hostParams][]duck.StringT
	var valid [hostParams]unsafe.Pointer
	n := int(duck.DataChunkGetSize(in))
	for i := range columns {
		vec := duck.DataChunkGetVector(in, duck.IdxT(i))
		columns[i] = unsafe.Slice((*duck.StringT)(duck.VectorGetData(vec)), n)
		valid[i] = duck.VectorGetValidity(vec)
	}
	duck.VectorEnsureValidityWritable(result)
	none := duck.VectorGetValidity(result)
	for row := range n {
		var args [hostParams]string
		given := host != nil
		for i := range args {
			if given = given && (valid[i] == nil || duck.ValidityRowIsValid(valid[i], duck.IdxT(row))); given {
				args[i] = duck.StringTData(&columns[i][row])
			}
		}
		if !given {
			duck.ValiditySetRowInvalid(none, duck.IdxT(row))
			continue
		}
		answer, err := (*host)(args[0], args[1], args[2])
		if err != nil {
			duck.ScalarFunctionSetError(info, fault.Wrap(err, "%s", args[0]).Error())
			return
		}
		duck.VectorAssignStringElement(result, duck.IdxT(row), answer)
	}
}
