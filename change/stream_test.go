package change

import "testing"

func TestLSN(t *testing.T) {
	for _, s := range []string{"0/0", "0/16B3748", "16/B374D848", "FFFFFFFF/FFFFFFFF"} {
		l, err := ParseLSN(s)
		if err != nil || l.String() != s {
			t.Errorf("%s: %s, %v", s, l, err)
		}
	}
	if l, _ := ParseLSN("16/B374D848"); l != 0x16_B374D848 {
		t.Errorf("%x", uint64(l))
	}
	for _, s := range []string{"", "0", "/", "0/", "/0", "x/0", "0/0/0", "0/0 ", "100000000/0", "0/100000000"} {
		if l, err := ParseLSN(s); err == nil {
			t.Errorf("%q: %s", s, l)
		}
	}
}
